"""Real processes for tests: each in its own directory, on ports of its own, stopped whatever happens."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
START_TIMEOUT_S = 20.0
Json = dict[str, Any]


class Process:
    """A command with JSON logs; `event` waits for one of them. Its own process group."""

    def __init__(
        self,
        module: str,
        environment: dict[str, str],
        *arguments: str,
        files: tuple[int, int] | None = None,
        prefix: Sequence[str] = (),
        python: str = sys.executable,
        cwd: Path = ROOT,
    ) -> None:
        """`files`: soft and hard limit of those that it may have open. `prefix`: a command that becomes this one."""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        command = [python, "-m", module, *arguments]
        if files is not None:
            command = ["sh", "-c", f'ulimit -Sn {files[0]} && ulimit -Hn {files[1]} && exec "$@"', "sh", *command]
        self._popen = subprocess.Popen(
            [*prefix, *command],
            env={**inherited, "LOG_FORMAT": "json", "PYTHONWARNINGS": "error", **environment},
            cwd=cwd,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._popen.poll()

    @property
    def stderr(self) -> str:
        return "".join(self.lines)

    def events(self, name: str) -> list[Json]:
        """All log events of that name so far."""
        with self._changed:
            parsed = [json.loads(line) for line in self.lines if line.startswith("{")]
        return [event for event in parsed if event["event"] == name]

    def event(self, name: str, count: int = 1) -> Json:
        """The count-th event of that name, waited for."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while len(found := self.events(name)) < count:
            if self._popen.poll() is not None or time.monotonic() > deadline:
                self._reader.join(1.0)
                raise AssertionError(f"no {name} from {self._popen.args!r}: {self.stderr}")
            with self._changed:
                self._changed.wait(0.05)
        return found[count - 1]

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def wait(self, timeout_s: float = 20.0) -> int:
        """The exit code."""
        code = self._popen.wait(timeout_s)
        self._reader.join(5.0)
        return code

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill_all(self) -> None:
        """SIGKILL to the process and all that it started. Idempotent."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
        self._reader.join(5.0)
        if self._popen.stderr is not None:
            self._popen.stderr.close()

    def _read(self) -> None:
        assert self._popen.stderr is not None
        for line in self._popen.stderr:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()


class System:
    """Mock server, sidecar and gateway in one directory. Settings are given as environment variables."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.socket = directory / "sidecar.sock"
        self.processes: list[Process] = []
        self.upstream = "http://127.0.0.1:1/invoke"
        self.gateway_url = ""
        self.sidecar_url = "http://127.0.0.1:1"
        self.files: tuple[int, int] | None = None
        self.python = sys.executable
        self.cwd = ROOT

    def start_mock(self, **settings: str) -> Process:
        mock = self._start("deploy.mock_server", {"MOCK_PORT": "0", "MOCK_LATENCY": "fixed:0ms", **settings})
        self.upstream = mock.event("mock.listening")["url"] + "/invoke"
        return mock

    def start_sidecar(self, **settings: str) -> Process:
        port = self.sidecar_url.rpartition(":")[2]
        environment = {
            "SIDECAR_PORT": "0" if port == "1" else port,
            "SIDECAR_SOCKET": str(self.socket),
            "SIDECAR_DATA_DIR": str(self.data),
        }
        sidecar = self._start("metrics_sidecar", {**environment, **settings})
        self.sidecar_url = sidecar.event("sidecar.listening")["url"]
        return sidecar

    def start_gateway(self, module: str = "invoker", prefix: Sequence[str] = (), **settings: str) -> Process:
        environment = {
            "INVOKER_PORT": "0",
            "INVOKER_DRAIN_DELAY_S": "0",
            "INVOKER_UPSTREAM_URL": self.upstream,
            "INVOKER_SIDECAR_URL": self.sidecar_url,
            "INVOKER_JOURNAL_DIR": str(self.directory / "journal"),
            "SIDECAR_SOCKET": str(self.socket),
        }
        gateway = self._start(module, {**environment, **settings}, prefix)
        workers = int(settings.get("INVOKER_WORKERS", "1"))
        self.gateway_url = gateway.event("worker.listening", workers)["url"]
        return gateway

    def invoke(self, model_id: str = "gpt-3.5", value: object = (1, 2, 3)) -> tuple[int, Json]:
        """HTTP status and answer of one invocation."""
        body = {"worklet_input": {"model_id": model_id, "input": value}}
        return post(f"{self.gateway_url}/invoke", json.dumps(body).encode())

    def stats(self, model_id: str) -> Json:
        """The sidecar's statistics of one model; empty if it has none."""
        stats: Json = get(f"{self.sidecar_url}/metrics/stats?model_id={model_id}")["stats"].get(model_id, {})
        return stats

    def history(self, query: str = "") -> Json:
        return get(f"{self.sidecar_url}/metrics/history?{query}")

    def settled(self, model_id: str, count: int, timeout_s: float = 20.0) -> Json:
        """The statistics once the sidecar has counted so many invocations of the model."""
        settled: Json = eventually(
            lambda: self.stats(model_id), lambda stats: stats.get("total_invocations", 0) >= count, timeout_s
        )
        return settled

    def _start(self, module: str, settings: dict[str, str], prefix: Sequence[str] = ()) -> Process:
        process = Process(module, settings, files=self.files, prefix=prefix, python=self.python, cwd=self.cwd)
        self.processes.append(process)
        return process


@contextlib.contextmanager
def system(directory: Path) -> Iterator[System]:
    """A system whose processes are all gone at the end."""
    started = System(directory)
    try:
        yield started
    finally:
        for process in started.processes:
            process.kill_all()


def children(pid: int) -> set[int]:
    """Processes that a process has started and that live. Its threads may come and go meanwhile."""
    found: set[int] = set()
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.update(map(int, path.read_text().split()))
    return found


def get(url: str) -> Json:
    """The JSON answer of a GET."""
    with urllib.request.urlopen(url, timeout=10) as response:
        answer: Json = json.load(response)
        return answer


def get_text(url: str, **headers: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as response:
        text: str = response.read().decode()
        return text


def post(url: str, body: bytes, content_type: str = "application/json") -> tuple[int, Json]:
    """HTTP status and JSON answer of a POST, whatever the status."""
    request = urllib.request.Request(url, body, {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def eventually(read: Callable[[], Any], enough: Callable[[Any], bool], timeout_s: float = 10.0) -> Any:
    """What `read` gives as soon as it is enough; an AssertionError with its last value otherwise."""
    deadline = time.monotonic() + timeout_s
    while not enough(value := read()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {value!r} after {timeout_s} s")
        time.sleep(0.02)
    return value
