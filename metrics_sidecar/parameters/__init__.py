"""What callers may ask for, in words: decoded, checked and documented by the same types, for HTTP and for commands."""
