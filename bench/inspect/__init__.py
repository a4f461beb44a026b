"""Effects of a loss inside a model: weights, activations, neuron groups and activation patching."""
