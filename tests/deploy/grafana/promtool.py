"""promtool on the dashboards' expressions: are they PromQL, and what are they worth on series made for it."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests import debian


def check_syntax(expressions: Mapping[str, str], directory: Path) -> None:
    """As recording rules, name → expression; fails with promtool's words."""
    rules = [{"record": name, "expr": expression} for name, expression in expressions.items()]
    path = directory / "expressions.yaml"
    path.write_text(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}), encoding="utf-8")
    _run("check", "rules", "--lint=none", path)


def check_values(
    series: Mapping[str, str], expected: Mapping[str, Mapping[str, float]], at: str, directory: Path
) -> None:
    """Series in promtool's notation, a sample each 5 s; expression → labels → its value at that moment, to 6 digits."""
    tests = [
        {
            "interval": "5s",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {
                    "expr": f"round({expression}, 1e-6)",
                    "eval_time": at,
                    "exp_samples": [{"labels": labels, "value": round(value, 6)} for labels, value in samples.items()],
                }
                for expression, samples in expected.items()
            ],
        }
    ]
    path = directory / "values.yaml"  # JSON is YAML
    path.write_text(json.dumps({"evaluation_interval": "5s", "tests": tests}), encoding="utf-8")
    _run("test", "rules", path)


def _run(*arguments: object) -> None:
    done = subprocess.run([debian.promtool(), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
