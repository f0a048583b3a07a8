"""What the manifests of deploy/kubernetes promise."""
