"""The training loop: recipes, the trainer, the optimiser, averages of checkpoints."""
