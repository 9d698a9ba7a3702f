"""Training and evaluation: losses' inputs, data, the differentiable clip model, metrics.

Nothing here is needed to use a model. Importing the package imports nothing else; name the module that you need.
"""
