"""Each record once: what frames ask of the ledger, what is new of it, and the thread that commits it."""
