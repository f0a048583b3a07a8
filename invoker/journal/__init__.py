"""Records on this machine, from the reply until the sidecar has them."""
