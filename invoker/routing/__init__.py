"""Which model goes where."""
