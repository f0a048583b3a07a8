"""What gateway and sidecar must agree on: the record, the wire, settings, errors, clock, logs."""
