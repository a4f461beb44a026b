"""Owns what a loss does inside a model: weights, activations, neuron groups and activation patching."""
