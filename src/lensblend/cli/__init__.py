"""Entry points; the only place that knows Hydra's main and DictConfig."""
