"""The lines of the benchmark: each measures one thing, alone or together with the others."""
