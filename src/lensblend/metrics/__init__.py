"""Scores of renderings; a name fixes one convention (docs/conventions.md)."""
