"""A client for single, timed requests on one kept connection."""

import http.client
import json
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.bench.ground import BenchError


class Client:
    """One keep-alive connection to a server; a context manager."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> bytes:
        return self._request("GET", path, None, headers or {})

    def post(self, path: str, body: bytes) -> bytes:
        return self._request("POST", path, body, {"Content-Type": "application/json"})

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def _request(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> bytes:
        self._connection.request(method, path, body, dict(headers))
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise BenchError(f"{method} {path} answered {answer.status}: {content[:300]!r}")
        return content


class Pinger:
    """Asks for `/healthz` a thousand times a second, on a thread: how long it waits for an answer is how
    long the event loop does not turn. A context manager; `longest_ms` is the longest wait so far."""

    INTERVAL_S = 0.001

    def __init__(self, url: str) -> None:
        self.longest_ms = 0.0
        self._url = url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with Client(self._url) as client:
            client.get("/healthz")
            while not self._over.wait(self.INTERVAL_S):
                started = time.perf_counter()
                client.get("/healthz")
                self.longest_ms = max(self.longest_ms, (time.perf_counter() - started) * 1000)


def metric_lines(text: str, name: str) -> dict[str, float]:
    """The samples of a family that an exposition has, by name and labels."""
    lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith(name))
    return {sample: float(value) for sample, _, value in lines}
