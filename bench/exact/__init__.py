"""Owns problems so small that every completion can be enumerated, and what theory says of them."""
