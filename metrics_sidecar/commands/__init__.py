"""The commands that work on a data directory, beside the sidecar or without it."""
