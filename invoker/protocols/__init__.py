"""How bodies are read and written, one module per protocol that callers and upstreams speak."""
