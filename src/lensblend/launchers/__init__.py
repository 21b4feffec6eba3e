"""How the jobs of a sweep are started, watched, stopped and taken up again."""
