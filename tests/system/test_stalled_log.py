"""Nobody reads what the processes say: calls, records and health go on, and it is told later."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.processes import free_port
from tests.processes import Json, System, children, eventually, get, get_text, post, system

BODY = b'{"worklet_input": {"model_id": "m", "input": [1]}}'


class Stalled:
    """A process whose stderr is a full pipe."""

    def __init__(self, module: str, environment: dict[str, str]) -> None:
        self.reader, writer = os.pipe()
        os.set_blocking(writer, False)
        while True:
            try:
                os.write(writer, b"." * 1024)
            except BlockingIOError:
                break
        os.set_blocking(writer, True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            env={"PATH": os.environ["PATH"], "LOG_FORMAT": "json", **environment},
            stderr=writer,
            stdout=writer,
            start_new_session=True,
        )
        os.close(writer)

    def read(self) -> list[Json]:
        """The events that wait to be read, and those that come then."""
        fcntl.fcntl(self.reader, fcntl.F_SETFL, os.O_NONBLOCK)
        text = b""

        def more() -> bytes:
            nonlocal text
            with contextlib.suppress(BlockingIOError):
                text += os.read(self.reader, 65536)
            return text

        eventually(more, lambda text: text.endswith(b"}\n"))
        return [json.loads(line) for line in text.lstrip(b".").splitlines()]

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.reader)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[System]:
    with system(tmp_path) as started:
        yield started


def is_up(url: str) -> bool:
    try:
        return bool(get(f"{url}/healthz") == {"status": "ok"})
    except urllib.error.URLError:
        return False


def test_a_gateway_whose_log_nobody_reads(started: System) -> None:
    """It starts, serves, replaces a worker that dies, and stops; what it had to say comes when it is read."""
    started.start_mock()
    started.start_sidecar()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    gateway = Stalled(
        "invoker",
        {
            "INVOKER_PORT": str(port),
            "INVOKER_UPSTREAM_URL": started.upstream,
            "INVOKER_JOURNAL_DIR": str(started.directory / "journal"),
            "SIDECAR_SOCKET": str(started.socket),
        },
    )
    try:
        eventually(lambda: is_up(url), bool, 30)
        assert post(f"{url}/invoke", BODY)[0] == 200
        (worker,) = children(gateway.process.pid)
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: children(gateway.process.pid) - {worker}, bool, 30)
        eventually(lambda: is_up(url), bool, 30)
        assert post(f"{url}/invoke", BODY)[0] == 200
        assert started.settled("m", 2)["successful_invocations"] == 2
        assert "worker.listening" in [event["event"] for event in gateway.read()]
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(30) == 0
    finally:
        gateway.close()


def test_a_sidecar_whose_log_nobody_reads(started: System) -> None:
    """It takes in records, answers, and stops."""
    port = free_port()
    sidecar = Stalled(
        "metrics_sidecar",
        {
            "SIDECAR_PORT": str(port),
            "SIDECAR_SOCKET": str(started.socket),
            "SIDECAR_DATA_DIR": str(started.data),
        },
    )
    started.sidecar_url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: is_up(started.sidecar_url), bool, 30)
        started.start_mock()
        started.start_gateway()
        started.invoke("m")
        assert started.settled("m", 1)["total_invocations"] == 1
        sidecar.process.send_signal(signal.SIGTERM)
        assert sidecar.process.wait(30) == 0
    finally:
        sidecar.close()


def test_a_stalled_log_shows(started: System) -> None:
    """Once lines are dropped `/readyz` says so, until they are read; they are counted, and the log says how many."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    program = (
        "from invoker.process.serving import log\n"
        "from invoker.front import health\n"
        "from invoker.__main__ import main\n"
        "answer = health.healthz\n"
        "async def talkative(request):\n"
        "    for _ in range(1100): log.info('x' * 1024)\n"
        "    return await answer(request)\n"
        "import invoker.front.routes\n"
        "invoker.front.routes.healthz = talkative\n"
        "main()\n"
    )
    module = started.directory / "talkative.py"
    module.write_text(program)
    started.start_sidecar()
    gateway = Stalled(
        "talkative",
        {
            "INVOKER_PORT": str(port),
            "INVOKER_JOURNAL_DIR": str(started.directory / "journal"),
            "SIDECAR_SOCKET": str(started.socket),
            "PYTHONPATH": str(started.directory),
        },
    )
    try:
        eventually(lambda: is_up(url), bool, 30)
        readiness = get(f"{url}/readyz")
        assert "log lines are dropped: nobody reads them" in readiness["reasons"]
        name = 'invoker_log_lines_dropped_total{reason="not_read"} '
        lines = eventually(
            lambda: [line for line in get_text(f"{started.sidecar_url}/metrics").splitlines() if line.startswith(name)],
            lambda lines: float(lines[0].split()[1]) > 0,
        )
        events = gateway.read()
        while (dropped := [event for event in events if event["event"] == "log.dropped"]) == []:
            events += gateway.read()
        assert dropped[0]["count"] >= float(lines[0].split()[1]) > 0
        assert get(f"{url}/readyz")["reasons"] == []
    finally:
        gateway.close()
