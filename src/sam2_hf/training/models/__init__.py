"""Models that learn from clips, their initial weights, adapters, and changes between stages."""
