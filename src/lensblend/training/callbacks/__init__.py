"""What happens beside the optimisation: history, checkpoints, panels, progress, status."""
