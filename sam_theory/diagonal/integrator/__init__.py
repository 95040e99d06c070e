"""The flow in dual coordinates: its field and the implicit method that follows it."""
