"""Checkpoints and state dicts of PyTorch and safetensors, read as data. `state_dict` tells the story."""
