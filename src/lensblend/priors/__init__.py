"""Pretrained networks used as guidance or as a loss, and where their weights come from."""
