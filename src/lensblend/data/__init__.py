"""Pairs of photos: where they are, how they are read, rendered, flipped, resized and sampled."""
