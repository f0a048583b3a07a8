"""The history as files: written by an export, read again by an import. Nothing here knows the web."""
