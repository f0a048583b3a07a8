"""What Prometheus scrapes: the model_* families and the sidecar's own health."""
