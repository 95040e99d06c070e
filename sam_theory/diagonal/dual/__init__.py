"""The convex problem by its dual: Newton's method, products with error bounds, proved factors."""
