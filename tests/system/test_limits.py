"""Limits hold for the gateway as a whole, whatever becomes of its workers."""

import contextlib
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.invoker.process.test_parent import worker_pids
from tests.processes import System, eventually, system
from tests.system.counting_server import counting

WORKERS, CALLERS = 3, 12


@pytest.fixture
def started(tmp_path: Path) -> Iterator[System]:
    with system(tmp_path) as started:
        yield started


class Callers:
    """Call one after the other, each on its own connections, until they are told to stop; also where one breaks."""

    def __init__(self, started: System, model_id: str = "m", count: int = CALLERS) -> None:
        self.statuses: Counter[int] = Counter()
        self._system, self._model_id = started, model_id
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                status, _ = self._system.invoke(self._model_id)
            except (OSError, ValueError):  # its worker was killed
                status = 0
            self.statuses[status] += 1

    def more(self, status: int, count: int) -> None:
        """Wait for so many answers of that status."""
        enough = self.statuses[status] + count
        eventually(lambda: self.statuses[status], lambda answered: answered >= enough, 60)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)


@contextlib.contextmanager
def calling(started: System, model_id: str = "m", count: int = CALLERS) -> Iterator[Callers]:
    callers = Callers(started, model_id, count)
    try:
        yield callers
    finally:
        callers.stop()


def start(started: System, text: str, workers: int = WORKERS, **settings: str) -> list[int]:
    """A gateway with this models file; its workers."""
    path = started.directory / "models.toml"
    path.write_text(text)
    gateway = started.start_gateway(INVOKER_MODELS_FILE=str(path), INVOKER_WORKERS=str(workers), **settings)
    return worker_pids(gateway, workers)


@pytest.mark.parametrize("table", ["model", "upstream"])
def test_a_limit_is_never_exceeded_and_always_reached(started: System, table: str) -> None:
    """By all workers together, of a model or of an upstream; workers are killed meanwhile, and no place is lost."""
    with counting(0.02) as server:
        text = {
            "model": f"[m]\nupstream = '{server.url}'\nlimits = {{ max_in_flight = 3 }}",
            "upstream": f"[[m.upstreams]]\nurl = '{server.url}'\nmax_in_flight = 3",
        }[table]
        pids = start(started, text)
        gateway = started.processes[-1]
        with calling(started) as callers:
            callers.more(200, 100)
            for killed in range(1, 4):
                os.kill(pids[-1], signal.SIGKILL)
                pids.append(gateway.event("worker.listening", WORKERS + killed)["pid"])
                assert server.most <= 3
                server.most = 0
                callers.more(200, 50)
                eventually(lambda: server.most, lambda most: most == 3)
        assert server.most == 3
    assert {*callers.statuses} <= {0, 200, 429}
    assert callers.statuses[429] > 0


def test_an_upstream_without_room_is_spared_while_another_has_some(started: System) -> None:
    """Calls go to the other one, and beyond both they are refused."""
    with counting(0.05) as small, counting(0.05) as large:
        start(
            started,
            f"[[m.upstreams]]\nurl = '{small.url}'\nmax_in_flight = 1\n"
            f"[[m.upstreams]]\nurl = '{large.url}'\nmax_in_flight = 4\n",
        )
        with calling(started) as callers:
            callers.more(200, 200)
    assert (small.most, large.most) == (1, 4)
    assert {*callers.statuses} == {200, 429}
