"""The metrics sidecar: the one ledger of all invocations, and the views of it."""
