"""Floor 5: the training loop, which fits on a screen, and the callbacks that do everything else."""
