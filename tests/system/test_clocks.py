"""Processes whose clocks are wrong: nothing is removed or hidden, it is told, and all is well when they are right."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faketime import FakeTime
from tests.processes import Json, System, eventually, get, get_text, system

SHORT = {"SIDECAR_RETENTION": "1h", "SIDECAR_RETENTION_MINUTES": "1h", "SIDECAR_SHUTDOWN_GRACE_S": "0.1"}
"""As short as it can be: an hour or two are too many then."""
LOOKED_S = 11.0
"""A bit longer than it takes until it is looked again for what is too old."""
MODEL = "gpt-3.5"


@pytest.fixture
def started(tmp_path: Path) -> Iterator[System]:
    with system(tmp_path) as started:
        started.start_mock()
        yield started


@pytest.fixture
def clock(tmp_path: Path) -> FakeTime:
    return FakeTime(tmp_path / "clock")


def counter(started: System, series: str) -> float:
    lines = get_text(f"{started.sidecar_url}/metrics").splitlines()
    return float(next(line for line in lines if line.startswith(f"{series} ")).rpartition(" ")[2])


def readiness(started: System, status: str) -> Json:
    """What `/readyz` says as soon as it is this."""
    answer: Json = eventually(lambda: get(f"{started.sidecar_url}/readyz"), lambda found: found["status"] == status)
    return answer


def invoke(started: System, count: int, total: int) -> None:
    """So many calls; so many there are in all views then."""
    for _ in range(count):
        assert started.invoke()[0] == 200
    started.settled(MODEL, total)
    check(started, total)


def check(started: System, total: int) -> None:
    page = started.history("limit=1000")
    assert (page["total_count"], len(page["history"])) == (total, total)
    assert started.stats(MODEL)["total_invocations"] == total
    assert counter(started, "sidecar_records_missing_total") == 0
    assert counter(started, "sidecar_rows_removed_total") == 0


def wait_for_a_look(started: System) -> None:
    """Until it was looked for what is too old for the first time, which is told by what was found."""
    name = "\nsidecar_oldest_row_timestamp_seconds "
    eventually(lambda: get_text(f"{started.sidecar_url}/metrics"), lambda text: name in text)


@pytest.mark.parametrize("off", ["+2h", "+60d", "-60d", "@2200-01-01 00:00:00", "@1960-01-01 00:00:00"])
def test_a_clock_that_jumps_while_the_sidecar_runs(started: System, clock: FakeTime, off: str) -> None:
    """All rows stay, and are shown; it is logged once, counted, and a reason in `/readyz` for as long as it lasts."""
    sidecar = started.start_sidecar(**SHORT, **clock.environment)
    started.start_gateway()
    invoke(started, 5, 5)
    clock.set(off)
    (reason,) = readiness(started, "degraded")["reasons"]
    assert reason.startswith("the clock jumped, and is ")
    direction = "ahead" if " ahead of " in reason else "back"
    invoke(started, 5, 10)
    if direction == "ahead":
        time.sleep(LOOKED_S)  # it is long enough, or else less is tested
    check(started, 10)
    assert counter(started, f'sidecar_clock_jumps_total{{direction="{direction}"}}') == 1
    clock.set("+0")
    assert readiness(started, "ready")["reasons"] == []
    invoke(started, 5, 15)
    assert [event["direction"] for event in sidecar.events("clock.jumped")] == [direction]
    assert len(sidecar.events("clock.right_again")) == 1
    assert counter(started, 'sidecar_timestamps_clamped_total{reason="future"}') == 0
    assert counter(started, 'sidecar_timestamps_clamped_total{reason="past"}') == 0


@pytest.mark.parametrize("off", ["+400d", "-400d"])
def test_a_sidecar_that_is_started_with_a_wrong_clock(started: System, clock: FakeTime, off: str) -> None:
    """Nothing is removed, no producer forgotten, nothing missing, and nothing that is sent again counted twice."""
    sidecar = started.start_sidecar(**SHORT)
    started.start_gateway()
    invoke(started, 5, 5)
    sidecar.kill_all()
    clock.set(off)
    sidecar = started.start_sidecar(**SHORT, **clock.environment)
    assert "the clock " in readiness(started, "degraded")["reasons"][0]
    sidecar.event("intake.producer_connected")
    invoke(started, 5, 10)
    wait_for_a_look(started)
    check(started, 10)
    assert sidecar.stop() == 0
    sidecar = started.start_sidecar(**SHORT)
    readiness(started, "ready")
    sidecar.event("intake.producer_connected")
    invoke(started, 5, 15)
    wait_for_a_look(started)
    check(started, 15)


@pytest.mark.parametrize(
    ("off", "reason"),
    [("+1825d", "future"), ("@2200-01-01 00:00:00", "future"), ("@1970-01-01 00:00:00", "past"), ("-90d", "past")],
)
def test_a_gateway_with_a_wrong_clock(started: System, clock: FakeTime, off: str, reason: str) -> None:
    """Its records get the time of their arrival, and are counted; they neither lead each page nor are removed."""
    started.start_sidecar(SIDECAR_SHUTDOWN_GRACE_S="0.1")
    right = started.start_gateway(INVOKER_JOURNAL_DIR=str(started.directory / "right"))
    invoke(started, 5, 5)
    clock.set(off)
    started.start_gateway(**clock.environment)
    invoke(started, 5, 10)
    assert counter(started, f'sidecar_timestamps_clamped_total{{reason="{reason}"}}') == 5
    wait_for_a_look(started)
    check(started, 10)
    now = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() - 600))
    assert started.history(f"since={now}:00Z")["total_count"] == 10
    assert right.exit_code is None


def test_a_gateway_before_1970_delivers(started: System, clock: FakeTime) -> None:
    """Its records are of the first moment that there is, and no other's are held up."""
    started.start_sidecar(SIDECAR_SHUTDOWN_GRACE_S="0.1")
    clock.set("@1960-01-01 00:00:00")
    started.start_gateway(**clock.environment)
    invoke(started, 5, 5)
    assert started.stats(MODEL)["last_invocation"].startswith("1970-01-01T00:00:00")
