"""Deep networks with m-SAM on NumPy or cupy, without torch."""
