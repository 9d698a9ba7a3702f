"""Training loop: recipes, trainer, optimiser, averages of checkpoints."""
