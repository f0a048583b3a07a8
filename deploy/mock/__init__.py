"""The mock server: what it says in each protocol, how it behaves, and in which pieces and times."""
