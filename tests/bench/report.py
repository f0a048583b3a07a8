"""RESULTS.md: the table of the results, how they were measured, and how cost grows."""

from pathlib import Path

from tests.bench.figures import Figure, LineResult, Results
from tests.bench.plots import draw_plots
from tests.bench.table import cells, number

HEADINGS = ("figure", "unit", "ours", "yardstick", "", "ratio", "budget", "verdict")

METHOD = """\
Made by `python -m tests.bench report` from `results.json`, which `make bench` writes.

- Yardsticks and ours run in turn, three rounds at least, in the same minutes; figures are medians of the rounds.
- CPU time is the kernel's account of the measured processes alone (all workers and threads), so that others
  on the machine disturb it less than they disturb rates.
- How fast the machine was is told by a million additions in a loop of Python, before and after a line: 36 ms
  at best, and nearly twice as long while others use it. What needs much memory is slowed down more than that: see `an
  answer without a query`, where there is one. Verdicts take neither into account.
- The cores are split: what is measured runs on one half, the load generator, the upstream and, beside the
  gateway, the sidecar on the other. Only a sidecar that is asked how long it takes, or for an export, has all
  cores, as where people ask it: it reads in one process beside what it commits in another.
- The gateway records with its default durability to a real sidecar; the time in which its last records are
  shipped and committed counts. A run with a failed request, or after which the sidecar's count is not that of
  the load generator (give or take the calls in flight at the end), is thrown away with an error.
"""


def write_report(results: Results, directory: Path) -> Path:
    """Write RESULTS.md and the plots into this directory; the page's path."""
    parts = ["# Results of the benchmark", "", METHOD]
    for line, result in results.items():
        parts += [f"## {line}", "", _circumstances(result), "", *_table(result), *_notes(result), ""]
    plots = draw_plots(results, directory / "plots")
    if plots:
        parts += ["## How cost grows", ""]
    for plot, path in plots:
        parts += [f"![{plot.title}]({path.relative_to(directory).as_posix()})", ""]
    page = directory / "RESULTS.md"
    page.write_text("\n".join(parts).rstrip() + "\n")
    return page


def _circumstances(result: LineResult) -> str:
    machine = result.machine
    moment = result.measured_at.strftime("%Y-%m-%d %H:%M UTC")
    quick = " **A quick run, which says nothing about speed.**" if result.quick else ""
    versions = f"Python {machine.python}, SQLite {machine.sqlite}"
    pace = ""
    if result.pace_ms is not None:
        before, after = map(number, result.pace_ms)
        pace = f" A million additions took {before} ms before and {after} ms after."
    return f"{moment}, {machine.cores} cores of {machine.processor}, {versions}.{pace}{quick}"


def _table(result: LineResult) -> list[str]:
    rows = [_row(HEADINGS), _row(("---", "---", "--:", "--:", "---", "--:", "--:", "---"))]
    return [*rows, *(_row(cells(figure)) for figure in result.outcome.figures)]


def _row(values: tuple[str, ...]) -> str:
    return f"| {' | '.join(values)} |"


def _notes(result: LineResult) -> list[str]:
    notes = [f"- {figure.name}: {text}" for figure in result.outcome.figures if (text := _note(figure))]
    return ["", *notes] if notes else []


def _note(figure: Figure) -> str:
    extra = ", ".join(f"{name} {number(value)}" for name, value in figure.extra.items())
    return "; ".join(part for part in (figure.note, extra) if part)
