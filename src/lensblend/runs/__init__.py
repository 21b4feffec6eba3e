"""What a run's folder holds, and how it is read: configuration, status, checkpoints, and the guarded `build`."""
