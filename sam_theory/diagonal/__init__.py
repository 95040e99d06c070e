"""Diagonal linear networks, beta = u * v."""
