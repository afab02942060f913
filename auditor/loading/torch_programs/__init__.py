"""TorchScript and torch.export programs: judged operation by operation against one list of pure ones."""
