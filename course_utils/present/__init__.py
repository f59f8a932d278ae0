"""A lesson step by step at the projector."""
