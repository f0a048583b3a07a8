"""`make rules`: writes overlays/operator/prometheus-rules.yaml, the files of deploy/prometheus/rules as resources."""

from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
RULES = HERE.parent / "prometheus" / "rules"
OUTPUT = HERE / "overlays" / "operator" / "prometheus-rules.yaml"
HEADER = "# Made from deploy/prometheus/rules by `make rules`; edit those.\n"
RESOURCE = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {name}
spec:
"""


def render(files: Iterable[Path]) -> str:
    """One resource per rule file, whose text, comments too, is its spec."""
    return HEADER + "---\n".join(render_one(file.stem, file.read_text(encoding="utf-8")) for file in files)


def render_one(name: str, rules: str) -> str:
    lines = [f"  {line}" if line else line for line in rules.splitlines() if line != "---"]
    return RESOURCE.format(name=f"invocation-gateway-{name}") + "\n".join(lines) + "\n"


def rule_files() -> list[Path]:
    return sorted(RULES.glob("*.yaml"))


if __name__ == "__main__":
    OUTPUT.write_text(render(rule_files()), encoding="utf-8")
