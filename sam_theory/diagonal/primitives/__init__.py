"""What compiled code is made of: registers, addresses, passes over rows of X, small factors."""
