"""Alerts on the sidecar and its disk."""

from collections.abc import Mapping
from pathlib import Path

from tests.deploy.prometheus.rules import Case, Labels, Values, check, flat, metric, phases, rising, without

PAIR = {"job": "metrics-sidecar", "instance": "one"}
OTHER = {"job": "metrics-sidecar", "instance": "two"}
PAGE: Labels = {**PAIR, "severity": "page"}
TICKET: Labels = {**PAIR, "severity": "ticket"}


def one(name: str, values: Values, **labels: str) -> Mapping[str, Values]:
    """A series of the first sidecar."""
    return {metric(name, **PAIR, **labels): values}


def two(name: str, values: Values, **labels: str) -> Mapping[str, Values]:
    """A series of the second sidecar."""
    return {metric(name, **OTHER, **labels): values}


def test_sidecar_down(tmp_path: Path) -> None:
    """No scrape for a minute, or no sidecar that Prometheus knows of."""
    down = [*flat(1, 5), *flat(0, 5)]
    cases = [
        Case(
            "fires",
            one("up", down),
            {4: [], 5.5: [], 7: [PAGE]},
            {
                "summary": "The metrics sidecar one can't be scraped",
                "description": (
                    "The scrape of one fails (up is 0). Calls go on, and their records wait in the gateway's journal."
                ),
            },
        ),
        Case("not after a missed scrape", one("up", [*flat(1, 5), *flat(0, 0.5), *flat(1, 5)]), {5.5: [], 7: []}),
        Case("not before anything was scraped", one("up", flat(1, 5)), {0: [], 4: []}),
        Case("fires without any sidecar", {}, {0.5: [], 2: [{"job": "metrics-sidecar", "severity": "page"}]}),
        Case("fires for one of two replicas", {**one("up", down), **two("up", flat(1, 10))}, {7: [PAGE]}),
        Case("ends when it is back", one("up", [*flat(0, 5), *flat(1, 5)]), {4: [PAGE], 6: []}),
    ]
    check("SidecarDown", cases, tmp_path)


def test_sidecar_restarting(tmp_path: Path) -> None:
    """Three starts in 15 minutes."""
    often = [*flat(1, 5), *flat(2, 2), *flat(3, 2), *flat(4, 11)]
    cases = [
        Case(
            "fires",
            one("process_start_time_seconds", often),
            {8: [], 12: [TICKET]},
            {
                "summary": "The metrics sidecar one starts again and again",
                "description": "one has started 3 times in the last 15 minutes.",
            },
        ),
        Case("not at two", one("process_start_time_seconds", [*flat(1, 5), *flat(2, 5), *flat(3, 9)]), {18: []}),
        Case("a gap is no start", one("process_start_time_seconds", without(flat(1, 20), 5, 6)), {8: []}),
    ]
    check("SidecarRestarting", cases, tmp_path)


def test_sidecar_slow(tmp_path: Path) -> None:
    """More than one in 100 waits of the event loop over 0.25 s, for 10 minutes."""

    def lag(over: float, minutes: float = 20) -> Mapping[str, Values]:
        bounds = {"0.1": 1 - over, "0.25": 1 - over, "1.0": 1.0, "+Inf": 1.0}
        name = "sidecar_event_loop_lag_seconds_bucket"
        return {metric(name, **PAIR, le=le): rising(60 * share, minutes) for le, share in bounds.items()}

    cases = [
        Case(
            "fires",
            lag(0.02),
            {10: [], 12: [TICKET]},
            {
                "summary": "The metrics sidecar one is overloaded",
                "description": ("One in 100 waits of the event loop of one takes 625ms or longer; 0.25 s are allowed."),
            },
        ),
        Case("not at the edge", lag(0.01), {12: [], 19: []}),
        Case("just beyond the edge", lag(0.0101), {10: [], 12: [TICKET]}),
        Case("not without waits", {name: flat(5, 20) for name in lag(0.02)}, {12: [], 19: []}),
    ]
    check("SidecarSlow", cases, tmp_path)


def test_commits_failing(tmp_path: Path) -> None:
    """Failures for a minute; one that was tried again with success is none."""
    name = "sidecar_commit_failures_total"
    cases = [
        Case(
            "fires",
            one(name, phases((0, 3), (60, 5))),
            {3: [], 6: [PAGE]},
            {
                "summary": "The metrics sidecar one can't write",
                "description": "60 commits of one have failed within a minute. Records wait in the gateway's journal.",
            },
        ),
        Case("not after one failure", one(name, phases((0, 3), (4, 0.25), (0, 5))), {3.5: [], 4: [], 4.5: [], 6: []}),
        Case("not after a restart", one(name, [*flat(100, 3), *flat(0, 3)]), {3: [], 4: [], 5: []}),
    ]
    check("CommitsFailing", cases, tmp_path)


def test_disk_nearly_full(tmp_path: Path) -> None:
    """Less than 15 % free for 5 minutes is a ticket, less than 5 % for one is a page, too."""

    def free(percent: float) -> Mapping[str, Values]:
        return {
            **one("sidecar_disk_free_bytes", flat(percent * 1e9, 10)),
            **one("sidecar_disk_size_bytes", flat(1e11, 10)),
        }

    annotations = {
        "summary": "The disk of one is nearly full",
        "description": "14% of the file system of the data directory of one are free.",
    }
    cases = [
        Case("fires", free(14), {4: [], 6: [TICKET]}, annotations),
        Case("pages", free(4), {0.5: [], 2: [PAGE], 6: [TICKET, PAGE]}),
        Case("not at the first edge", free(15), {6: [], 9: []}),
        Case("no page at the second edge", free(5), {6: [TICKET]}),
        Case("nothing is known of the disk", {}, {6: []}),
    ]
    check("DiskNearlyFull", cases, tmp_path)


def test_series_overflow(tmp_path: Path) -> None:
    """As soon as models share a label."""
    labelled = one("sidecar_models_labelled", flat(2000, 5))
    both = {
        name: values
        for status in ("success", "failure")
        for name, values in one("model_invocations_total", flat(0, 5), model_id="__overflow__", status=status).items()
    }
    cases = [
        Case(
            "fires",
            {**labelled, **both},
            {1: [TICKET]},
            {
                "summary": "Some models of one have no label of their own",
                "description": (
                    "2000 models of one have a label of their own, as many as it allows; the others are counted "
                    "together as __overflow__."
                ),
            },
        ),
        Case(
            "not when all have a label",
            {**labelled, **one("model_invocations_total", flat(0, 5), model_id="a", status="success")},
            {1: [], 4: []},
        ),
    ]
    check("SeriesOverflow", cases, tmp_path)


def test_clock_wrong(tmp_path: Path) -> None:
    """One jump, or one record of an impossible time; that a clock is ahead is nothing."""
    jumps, clamped = "sidecar_clock_jumps_total", "sidecar_timestamps_clamped_total"
    cases = [
        Case(
            "fires for a jump",
            one(jumps, [*flat(0, 10), *flat(1, 30)], direction="forward"),
            {9: [], 30: [], 11: [TICKET]},
            {
                "summary": "A clock at one is wrong",
                "description": (
                    "Within 15 minutes the clock of one was set by over a minute, or records came with times that "
                    "can't be: 1 times."
                ),
            },
        ),
        Case("fires for times", one(clamped, [*flat(0, 10), *flat(7, 10)], reason="future"), {9: [], 11: [TICKET]}),
        Case("not for none", {**one(jumps, flat(0, 20)), **one(clamped, flat(0, 20))}, {19: []}),
        Case("not after a restart", one(jumps, [*flat(5, 10), *flat(0, 10)]), {11: [], 19: []}),
        Case("not for a sidecar that was off", one("sidecar_clock_lead_seconds", flat(7200, 20)), {19: []}),
    ]
    check("ClockWrong", cases, tmp_path)


def test_log_not_read(tmp_path: Path) -> None:
    """One line, of either process."""
    sidecar, gateway = "sidecar_log_lines_dropped_total", "invoker_log_lines_dropped_total"
    cases = [
        Case(
            "fires",
            one(sidecar, [*flat(0, 16), *flat(3, 4)]),
            {15: [], 19: [TICKET]},
            {
                "summary": "Nobody reads a log at one",
                "description": (
                    "3 lines of the log of one or its gateway were dropped within 15 minutes, as nobody read them."
                ),
            },
        ),
        Case("fires for the gateway", one(gateway, [*flat(0, 10), *flat(3, 5)], reason="not_read"), {12: [TICKET]}),
        Case("not for none", {**one(sidecar, flat(0, 20)), **one(gateway, flat(9, 20))}, {19: []}),
    ]
    check("LogNotRead", cases, tmp_path)
