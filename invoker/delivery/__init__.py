"""How records get from journals to the sidecar: batches, acknowledgements, and what dead workers left."""
