"""The domain: what happens to one call, whatever its protocol, and that it becomes exactly one record."""
