"""Trunks without a head: a photo in, per-pixel features of the photo's size out."""
