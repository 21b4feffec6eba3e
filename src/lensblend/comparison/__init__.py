"""Finished trainings side by side: their scores with intervals, the paper's tables, one page of pictures."""
