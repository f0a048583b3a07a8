"""The gateway: forwards each invocation to its model server and records it exactly once."""
