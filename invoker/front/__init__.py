"""The callers' side: connections, routes, and what is answered to what is no call."""
