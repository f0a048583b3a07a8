"""The Grafana dashboards, generated: `make dashboards` writes `dashboards/*.json` from these modules."""
