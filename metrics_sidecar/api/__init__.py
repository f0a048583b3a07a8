"""The sidecar's HTTP API: one file per endpoint, each decodes, asks, encodes."""
