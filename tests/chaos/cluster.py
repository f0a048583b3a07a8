"""The processes under chaos, on ports that outlive their restarts. Everything here blocks, within bounds."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos.models import models_file
from tests.faketime import LIBRARIES, FakeTime
from tests.processes import Process, System

ROOT = Path(__file__).parents[2]
START_S = 30.0
LEAVE_S = 25.0
"""A worker's own grace times together are shorter."""
VERIFY_S = 60.0
PORTS = range(20_000, 30_000)
"""Below those that the system gives to connections: a port must still be free when its owner comes back."""


class Cluster(System):
    """Model server, sidecar and gateway. `expected_deaths` are the workers' deaths that were our doing."""

    def __init__(self, directory: Path, workers: int, journal_bytes: int | None = None) -> None:
        super().__init__(directory)
        self.workers = workers
        self.journal = directory / "journal-disk" / "journal"
        self.data = directory / "data-disk" / "data"
        self.seen_file = directory / "models-seen.jsonl"
        self.seen_file.touch()
        self.expected_deaths = 0
        self._journal_bytes = journal_bytes
        self.sidecar_clock = FakeTime(directory / "sidecar-clock") if LIBRARIES else None
        self.gateway_clock = FakeTime(directory / "gateway-clock") if LIBRARIES else None
        self._gateway_port, self._sidecar_port, self._models_port = free_ports(3)
        self.gateway_url = f"http://127.0.0.1:{self._gateway_port}"
        self.sidecar_url = f"http://127.0.0.1:{self._sidecar_port}"
        self.upstream_base = f"http://127.0.0.1:{self._models_port}"
        self.upstream = f"{self.upstream_base}/invoke"

    def start_all(self) -> None:
        self.start_models()
        self.restart_sidecar()
        self.start_workers()

    def start_models(self) -> None:
        process = Process("tests.chaos.model_server", {}, str(self._models_port), str(self.seen_file))
        self.processes.append(process)
        self.models = process
        process.event("mock.listening")

    def restart_sidecar(self) -> None:
        """With as short a retention as it can have: no clock must make it remove a row of this run."""
        clock = {} if self.sidecar_clock is None else self.sidecar_clock.environment
        self.sidecar = self.start_sidecar(SIDECAR_RETENTION="1h", SIDECAR_RETENTION_MINUTES="1h", **clock)

    def start_workers(self) -> None:
        """The gateway, with settings that let faults bite within seconds."""
        file = self.directory / "models.toml"
        file.write_text(self.models_text(), encoding="utf-8")
        settings = {
            "INVOKER_PORT": str(self._gateway_port),
            "INVOKER_WORKERS": str(self.workers),
            "INVOKER_JOURNAL_DIR": str(self.journal),
            "INVOKER_MODELS_FILE": str(file),
            "INVOKER_OPENAI_URL": f"{self.upstream_base}/v1",
            "INVOKER_ANTHROPIC_URL": self.upstream_base,
            "INVOKER_DRAIN_DELAY_S": "0",
            "INVOKER_SHUTDOWN_GRACE_S": "1",
        }
        if self._journal_bytes is not None:
            settings["INVOKER_JOURNAL_MAX_BYTES"] = str(self._journal_bytes)
        self.expected_deaths = 0
        if self.gateway_clock is not None:
            settings |= self.gateway_clock.environment
        self.gateway = self.start_gateway(**settings)

    def models_text(self) -> str:
        """The models file that the gateway starts with."""
        return models_file(self.upstream_base)

    def worker_pids(self) -> list[int]:
        """The living workers' process ids, by worker number."""
        listening = self.gateway.events("worker.listening")
        return [pid for _, pid in sorted({event["worker"]: event["pid"] for event in listening}.items())]

    def kill_worker(self, number: int) -> None:
        """SIGKILL; see `await_worker`."""
        self.expected_deaths += 1
        os.kill(self.worker_pids()[number], signal.SIGKILL)

    def await_worker(self, number: int, dead: int) -> None:
        """Until another process is that worker."""
        wait_for(lambda: self.worker_pids()[number] != dead, f"worker {number} comes back", START_S)

    def stop(self, process: Process) -> None:
        """SIGTERM, and an exit code of 0 within the grace times."""
        process.signal(signal.SIGTERM)
        code = process.wait(LEAVE_S)
        assert code == 0, f"process {process.pid} left with {code}: {process.stderr[-2000:]}"

    def ship(self) -> None:
        """What workers have left in their journals, to the sidecar."""
        settings = {"INVOKER_JOURNAL_DIR": str(self.journal), "SIDECAR_SOCKET": str(self.socket)}
        process = Process("invoker", settings, "ship")
        self.processes.append(process)
        code = process.wait(LEAVE_S)
        assert code == 0, f"what is left can't be shipped: {process.stderr[-2000:]}"

    def kill_parent(self) -> None:
        """SIGKILL to the parent alone: its workers finish what they have, and leave."""
        workers = self.worker_pids()
        os.kill(self.gateway.pid, signal.SIGKILL)
        wait_for(lambda: not any(map(is_running, workers)), "workers leave without their parent", LEAVE_S)
        self.gateway.kill_all()

    def kill_everything(self) -> None:
        """SIGKILL to all processes in one go."""
        parts = (self.gateway, self.sidecar, self.models)
        for part in parts:
            os.killpg(part.pid, signal.SIGKILL)
        for part in parts:
            part.kill_all()

    def journals(self) -> int:
        """Producers' directories that are there."""
        if not self.journal.is_dir():
            return 0
        return sum(len(path.name) == 32 for path in self.journal.iterdir())

    def journal_bytes(self) -> int:
        """Bytes that all journals take on disk."""
        total = 0
        for path in self.journal.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size if path.is_file() else 0
        return total

    def complaints(self) -> list[str]:
        """What processes should never do: leave unasked, or print a traceback."""
        loud = [process.pid for process in self.processes if "Traceback" in process.stderr]
        found = [f"a traceback in the log of process {pid}" for pid in loud]
        deaths = len(self.gateway.events("worker.died"))
        if deaths != self.expected_deaths:
            found.append(f"{deaths} workers of this gateway died, {self.expected_deaths} were killed")
        return found

    def verify(self) -> None:
        """The sidecar's own check of its data directory, with nobody there."""
        command = [sys.executable, "-m", "metrics_sidecar", "verify", "--data-dir", str(self.data)]
        checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=VERIFY_S, check=False)
        assert checked.returncode == 0, f"verify: {checked.stdout}{checked.stderr}"

    def close(self) -> None:
        """End all processes and keep their logs. Idempotent."""
        logs = self.directory / "logs"
        logs.mkdir(exist_ok=True)
        for number, process in enumerate(self.processes, start=1):
            process.kill_all()
            (logs / f"{number:03d}-{process.pid}.log").write_text(process.stderr, encoding="utf-8")


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float) -> None:
    """Until it holds; an AssertionError that says what didn't."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, not chosen by the seed: two runs may go on side by side."""
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(found) < count:
            port = random.SystemRandom().choice(PORTS)
            probe = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.append(port)
    return found
