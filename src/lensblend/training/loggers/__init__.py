"""Where a training's values go."""
