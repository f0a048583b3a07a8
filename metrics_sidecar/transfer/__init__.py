"""The history as files: written by an export, read again by an import, and the commands that work on them.

Nothing here knows the web: the sidecar's own exports run `worker`, a process beside it.
"""
