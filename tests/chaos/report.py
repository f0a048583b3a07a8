"""A run's lines: one per round, and the verdict."""

from dataclasses import dataclass

from tests.chaos.compare import Findings

COLUMNS = (
    ("round", 5),
    ("faults", 6),
    ("calls", 7),
    ("answered", 8),
    ("refused", 7),
    ("unknown", 7),
    ("(rows)", 6),
    ("streams", 7),
    ("whole", 6),
    ("failed", 6),
    ("rows", 7),
    ("lost", 4),
    ("doubled", 7),
    ("disagree", 8),
    ("decreases", 9),
    ("missing", 7),
    ("dropped", 7),
    ("seconds", 7),
)
MAX_PROBLEMS = 20

HEADER = "  ".join(f"{title:>{width}}" for title, width in COLUMNS)
LEGEND = """\
Counts are since the run began. unknown: sent, and no whole answer came; (rows): those of them with a row.
streams: of all calls, those that began to stream; whole: those that came to their end, failed: to an error event.
dropped: counted by the gateway while its journals were at their bound, or the disk under them was full; exactly those
are not there."""


@dataclass
class Round:
    """The state of the run after a round; all counts are since the run began."""

    number: int
    faults: int
    calls: int
    outcomes: dict[str, int]
    streams: dict[str, int]
    rows: int
    findings: Findings
    decreases: list[str]
    complaints: list[str]
    missing: int
    dropped: int
    seconds: float

    @property
    def problems(self) -> list[str]:
        missing = [f"{self.missing} records missing"] if self.missing else []
        return [*self.findings.all, *self.decreases, *self.complaints, *missing]


def line(state: Round) -> str:
    """One row of the table."""
    findings, outcomes = state.findings, state.outcomes
    values = (
        state.number,
        state.faults,
        state.calls,
        outcomes["answered"],
        outcomes["refused"],
        outcomes["unknown"],
        findings.unknown_with_row,
        sum(state.streams.values()),
        state.streams["whole"],
        state.streams["failed"],
        state.rows,
        len(findings.lost),
        len(findings.doubled),
        len(findings.disagreements) + len(state.complaints),
        len(state.decreases),
        state.missing,
        state.dropped,
        f"{state.seconds:.1f}",
    )
    return "  ".join(f"{value:>{width}}" for value, (_, width) in zip(values, COLUMNS, strict=True))


def problem_lines(state: Round) -> list[str]:
    """The first of what is wrong, indented."""
    problems = state.problems
    more = [f"  … and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
    return [f"  ! {problem}" for problem in problems[:MAX_PROBLEMS]] + more
