"""Kubernetes manifests, and what makes their rules from those of Prometheus."""
