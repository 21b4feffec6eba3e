"""Verbs: `lensblend NAME` runs the module of that name."""
