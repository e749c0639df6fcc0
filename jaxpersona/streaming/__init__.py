"""Discovery in a model larger than memory: hidden states stay on the host, weights pass by a layer at a time."""
