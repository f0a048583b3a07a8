"""Who stands still, and who only waits for its turn, or was paused together with who watches."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.stillness import Stillness
from tests.processes import eventually

TICK_US = 1_000_000


@contextlib.contextmanager
def process(code: str) -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", f"print(flush=True)\n{code}"], stdout=subprocess.PIPE) as started:
        try:
            assert started.stdout is not None
            started.stdout.readline()
            yield started.pid
        finally:
            started.kill()


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def cpu_s_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_process_that_waits_stands_still_until_its_next_sign() -> None:
    """Each tick counts, and a sign of life ends it."""
    now_us = 0
    with process("import time; time.sleep(1000)") as pid:
        eventually(lambda: state_of(pid), lambda state: state == "S")
        still = Stillness(pid, 0, 1.0)
        found = []
        for sign in (0, 0, 0, 1, 1):
            now_us += TICK_US
            found.append(still.check(sign, now_us))
    assert found == [0.0, 1.0, 2.0, 0.0, 1.0]


def test_a_stopped_process_stands_still() -> None:
    """Whatever it was doing."""
    now_us = 0
    with process("while True: pass") as pid:
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: state_of(pid), lambda state: state == "T")
        still = Stillness(pid, 0, 1.0)
        found = []
        for _ in range(3):
            now_us += TICK_US
            found.append(still.check(1, now_us))
    assert found == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("paused_us", "counted_s"), [(TICK_US + 1, 1.0), (2 * TICK_US + 1, 0.0), (3600 * TICK_US, 0.0)]
)
def test_time_in_which_nobody_watched_counts_as_a_tick_at_most(paused_us: int, counted_s: float) -> None:
    """Who watches was late; or the machine was suspended, or the watching process stopped, and most likely the other,
    too, which may have been continued a moment later."""
    now_us = 0
    with process("import time; time.sleep(1000)") as pid:
        eventually(lambda: state_of(pid), lambda state: state == "S")
        still = Stillness(pid, 0, 1.0)
        still.check(1, now_us)
        now_us += paused_us
        assert still.check(1, now_us) == counted_s


def test_a_process_that_wants_to_run_stands_still_only_while_it_does() -> None:
    """On a core that others keep busy, a long slice takes a long time."""
    now_us = 0
    with process("while True: pass") as pid:
        still = Stillness(pid, 0, 1.0)
        still.check(1, now_us)
        for _ in range(100):  # an age by this clock, and no time at all by the machine's
            now_us += TICK_US
            counted_s = still.check(1, now_us)
        assert counted_s <= cpu_s_of(pid)

        def check() -> float:
            nonlocal now_us
            now_us += TICK_US
            return still.check(1, now_us)

        eventually(check, lambda counted: counted > 0.2, 60.0)


def test_a_process_that_is_gone_counts_by_the_clock() -> None:
    """As does one on a system that tells nothing of it."""
    now_us = 0
    still = Stillness(2**30, 0, 1.0)
    still.check(1, now_us)
    now_us += TICK_US
    assert still.check(1, now_us) == 1.0
