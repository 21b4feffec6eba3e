"""A network, losses and data of one's own for lensblend."""
