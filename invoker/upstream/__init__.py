"""The model servers' side: connections that are kept, attempts, and whose fault it is when they fail."""
