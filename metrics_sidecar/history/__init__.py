"""What is kept of invocations, what may be asked of it, and whether the books agree."""
