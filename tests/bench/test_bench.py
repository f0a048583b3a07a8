"""The benchmark itself: it runs, and it judges as it says. How fast anything is, is not tested here."""

import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.bench.__main__ import LINES, main
from tests.bench.figures import Budget, LineResult, Outcome, Point, figure, load_results, save_results
from tests.bench.ground import Effort, ground, interleaved
from tests.bench.http import metric_lines
from tests.bench.machine import cpu_s, describe, family, rss_bytes
from tests.bench.producers import Producer, make_frames, make_records
from tests.processes import get
from tests.tools import require_tools

TOOLS = dict.fromkeys(("chat", "recording", "streams", "upstreams", "visibility"), ("wrk", "nginx"))


@pytest.mark.parametrize(
    ("budget", "ours", "verdict"),
    [
        (Budget("ours", at_most=6.0), 6.0, "pass"),
        (Budget("ours", at_most=6.0), 6.1, "short"),
        (Budget("ratio", at_least=2.5), 500.0, "pass"),
        (Budget("ratio", at_least=2.5), 499.0, "short"),
        (None, 1.0, ""),
    ],
)
def test_verdict(budget: Budget | None, ours: float, verdict: str) -> None:
    """A budget bounds our value or its ratio to the yardstick; without one there is no verdict."""
    assert figure("a", "µs", ours, yardstick=("b", 200.0), budget=budget).verdict == verdict


def test_not_measurable() -> None:
    """What this machine can't tell is neither pass nor short."""
    found = figure("a", "µs", 1.0, budget=Budget("ours", at_most=6.0), measurable=False)
    assert found.verdict == "not measurable"


def test_interleaved() -> None:
    """The runs take turns, round by round."""
    order: list[str] = []
    interleaved(2, {"a": lambda: order.append("a"), "b": lambda: order.append("b")})
    assert order == ["a", "b", "a", "b"]


def test_results_round_trip(tmp_path: Path) -> None:
    """Results are read as they were written."""
    path = tmp_path / "results.json"
    outcome = Outcome([figure("a", "µs", 1.5, note="why")], [Point("plot", "curve", 1.0, 2.0)])
    results = {"line": LineResult(datetime.datetime.now(datetime.UTC), 1.0, True, describe(), outcome, (40.0, 41.5))}
    save_results(path, results)
    assert load_results(path) == results


def test_metric_lines() -> None:
    """Samples of a family are found by the beginning of their name."""
    text = '# HELP a_seconds x\na_seconds_bucket{le="1"} 2\nb 3\n'
    assert metric_lines(text, "a_seconds") == {'a_seconds_bucket{le="1"}': 2.0}


def test_servers_are_measured_and_gone() -> None:
    """A started sidecar has a cost and a size, takes what producers send, and is gone at the end of its line."""
    with ground(Effort(quick=True)) as on:
        system, sidecar = on.sidecar()
        producer = Producer(system.socket)
        producer.ship(make_frames(make_records(1_000, 10)))
        producer.close()
        pids = family(sidecar.pid)
        assert cpu_s(pids) > 0
        assert rss_bytes(pids) > 2**20
        assert (
            sum(row["total_invocations"] for row in get(f"{system.sidecar_url}/metrics/stats")["stats"].values())
            == 1_000
        )
    assert not Path(f"/proc/{sidecar.pid}").exists()
    assert not on.directory.exists()


@pytest.mark.parametrize(
    "line", ["ingest", "rss", "history", "recording", "visibility", "windows", "chat", "streams", "upstreams"]
)
def test_quick_line(line: str, tmp_path: Path) -> None:
    """A quick run of a line measures something and writes it down. What one run has more than another may be nothing,
    or less."""
    assert line in LINES
    require_tools(*TOOLS.get(line, ()))
    path = tmp_path / "results.json"
    done = CliRunner().invoke(main, [line, "--quick", "--output", str(path)])
    assert done.exit_code == 0, done.output
    figures = load_results(path)[line].outcome.figures
    assert figures
    differences = [found for found in figures if found.verdict == "not measurable" or "minus without" in found.name]
    assert [found.name for found in figures if found.ours <= 0 and found not in differences] == []


def test_report(tmp_path: Path) -> None:
    """The report has a table row per figure and a plot per kind of point."""
    path = tmp_path / "results.json"
    outcome = Outcome([figure("a figure", "µs", 1.5)], [Point("rss-by-rows", "sidecar", 10.0, 50.0)])
    save_results(path, {"rss": LineResult(datetime.datetime.now(datetime.UTC), 1.0, False, describe(), outcome)})
    done = CliRunner().invoke(main, ["report", "--output", str(path)])
    assert done.exit_code == 0, done.output
    assert "| a figure | µs | 1.50 |" in (tmp_path / "RESULTS.md").read_text()
    assert (tmp_path / "plots" / "rss-by-rows.svg").read_text().startswith("<?xml")
