"""A run around the training step: settings, loop, evaluations, what is stored."""
