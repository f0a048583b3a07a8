"""What every backend must do: one suite, which knows nothing of any of them but what `backends.py` says."""
