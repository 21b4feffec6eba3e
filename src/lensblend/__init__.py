"""Train, compare and ship networks that render bokeh from a single all-in-focus photo."""

__version__ = "0.1.0"
