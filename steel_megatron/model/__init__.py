"""Floor 3: the model, written once in terms of the layers of parallel/tensor/layers.py."""
