"""The processes of a gateway: a parent, the workers that share its port, and what one is made of."""
