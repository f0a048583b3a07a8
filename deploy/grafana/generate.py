"""`make dashboards`: writes the dashboards' JSON, which Grafana reads and the repository keeps."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.model_invocation_metrics import make_model_invocation_metrics
from deploy.grafana.sidecar_health import make_sidecar_health

DASHBOARDS = Path(__file__).parent / "dashboards"


def render() -> dict[str, str]:
    """File name → JSON."""
    made = (make_model_invocation_metrics(), make_sidecar_health())
    return {f"{one.uid}.json": json.dumps(one, cls=JSONEncoder, indent=2, sort_keys=True) + "\n" for one in made}


def main() -> None:
    for name, text in render().items():
        (DASHBOARDS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
