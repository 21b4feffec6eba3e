"""Lightning: modules, the data module, phases, checkpoints and callbacks."""
