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
from tests.processes import System, eventually, get, system
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


def test_calls_wait_for_room_whichever_worker_frees_it(started: System) -> None:
    """None is refused, whatever becomes of workers, nor does any wait while there is room; never too many at once."""
    with counting(0.005) as server:
        limits = "{ max_in_flight = 2, queue = 100, queue_timeout = 60 }"
        pids = start(started, f"[m]\nupstream = '{server.url}'\nlimits = {limits}")
        gateway = started.processes[-1]
        with calling(started) as callers:
            callers.more(200, 200)
            for killed in range(1, 4):
                os.kill(pids[-1], signal.SIGKILL)
                pids.append(gateway.event("worker.listening", WORKERS + killed)["pid"])
                callers.more(200, 100)
        (limit,) = eventually(
            lambda: get(f"{started.gateway_url}/upstreams")["limits"], lambda told: not told[0]["in_flight"]
        )
    assert server.most == 2
    assert {*callers.statuses} <= {0, 200}
    told = {"limit": "m", "max_in_flight": 2, "in_flight": 0, "queue": 100, "waiting": 0}
    assert limit == told


def test_calls_that_wait_are_shown(started: System) -> None:
    """Of all workers, whichever is asked; and beyond the queue they are told when to come again."""
    with counting(0.0) as server:
        server.hold()
        limits = "{ max_in_flight = 1, queue = 4, queue_timeout = 60 }"
        start(started, f"[m]\nupstream = '{server.url}'\nlimits = {limits}")

        def shown() -> tuple[int, int]:
            (limit,) = get(f"{started.gateway_url}/upstreams")["limits"]
            return limit["in_flight"], limit["waiting"]

        with calling(started, count=5) as callers:
            eventually(shown, lambda told: told == (1, 4))
            status, answer = started.invoke("m")
            assert (status, answer["error_log"]) == (
                429,
                "1 calls of this model are in flight, its limit, and its queue is full",
            )
            server.release()
            callers.more(200, 20)
    assert server.most == 1
    assert {*callers.statuses} == {200}


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
