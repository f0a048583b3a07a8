"""`python -m tests.bench [LINE]...`: measure all lines or some, print the table, keep the results.

`python -m tests.bench report` makes RESULTS.md and its plots of what was kept.
"""

import datetime
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from tests.bench.figures import LineResult, Outcome, Results, load_results, save_results
from tests.bench.ground import BenchError, Effort, Ground, ground
from tests.bench.lines import (
    bodies,
    chat,
    export,
    gateway,
    history,
    ingest,
    overhead,
    peers,
    recording,
    rss,
    scrape,
    streams,
    upstreams,
    visibility,
    windows,
    workers,
)
from tests.bench.machine import describe, pace_ms
from tests.bench.table import print_table

RESULTS = Path(__file__).parent / "results.json"
REPORT = "report"

LINES: dict[str, Callable[[Ground], Outcome]] = {
    "gateway": gateway.measure,
    "recording": recording.measure,
    "workers": workers.measure,
    "bodies": bodies.measure,
    "chat": chat.measure,
    "streams": streams.measure,
    "upstreams": upstreams.measure,
    "ingest": ingest.measure,
    "visibility": visibility.measure,
    "scrape": scrape.measure,
    "overhead": overhead.measure,
    "rss": rss.measure,
    "history": history.measure,
    "windows": windows.measure,
    "export": export.measure,
    "peers": peers.measure,
}
ASKED_FOR = frozenset({"peers"})
"""Only when they are named."""


@click.command(help="Measure LINEs, without any all but `peers`; `report` writes RESULTS.md from the results.")
@click.argument("lines", nargs=-1, metavar="[LINE]...", type=click.Choice([*LINES, REPORT]))
@click.option("--quick", is_flag=True, help="Only see whether it works; results are kept only with --output.")
@click.option("--check", is_flag=True, help="Exit code 1 if a budget is not met.")
@click.option("--output", type=click.Path(path_type=Path), help=f"File of results, {RESULTS.name} beside the bench.")
def main(lines: tuple[str, ...], quick: bool, check: bool, output: Path | None) -> None:
    signal.signal(signal.SIGTERM, _stop)
    console = Console(width=160) if not Console().is_terminal else Console()
    path = output or RESULTS
    chosen = [line for line in lines if line != REPORT] or (
        [] if lines else [line for line in LINES if line not in ASKED_FOR]
    )
    measured = _measure(chosen, Effort(quick), console)
    if measured:
        print_table(console, measured)
    if measured and (output or not quick):
        save_results(path, {**load_results(path), **measured})
        console.print(f"Results are in {path}")
    if REPORT in lines:
        from tests.bench.report import write_report  # noqa: PLC0415 - matplotlib is needed for this only

        console.print(f"Report: {write_report(load_results(path), path.parent)}")
    if len(measured) < len(chosen) or (check and _short(measured)):
        raise SystemExit(1)


def _measure(lines: list[str], effort: Effort, console: Console) -> Results:
    """What was found, without the lines that failed: a failure is told, and the others go on."""
    measured: Results = {}
    for line in lines:
        started, pace_before_ms = time.monotonic(), pace_ms()
        with console.status(f"{line} …"):
            try:
                with ground(effort) as on:
                    outcome = LINES[line](on)
            except (BenchError, AssertionError, subprocess.SubprocessError) as error:
                console.print(f"{line}: failed: {error}", style="bold red", markup=False)
                continue
        duration_s = round(time.monotonic() - started, 1)
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        measured[line] = LineResult(now, duration_s, effort.quick, describe(), outcome, (pace_before_ms, pace_ms()))
        console.print(f"{line}: {duration_s:g} s")
    return measured


def _short(results: Results) -> bool:
    return any(figure.verdict == "short" for result in results.values() for figure in result.outcome.figures)


def _stop(_number: int, _frame: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)  # unwinds, so that everything started is stopped


if __name__ == "__main__":
    main()
