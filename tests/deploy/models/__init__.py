"""The models files that are examples."""
