"""One file per published architecture, named after what it does."""
