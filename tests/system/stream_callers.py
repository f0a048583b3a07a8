"""Callers of streams through all processes, with a tap between the gateway and the mock server."""

import contextlib
import http.client
import json
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.processes import Process, System, eventually, system
from tests.tap import BUFFER_BYTES, READ_BYTES, Tap, tapped

PATHS = {"openai": "/v1/chat/completions", "responses": "/v1/responses", "anthropic": "/v1/messages"}
TEXT = "one two three four five"
MODELS = """
["idle-anthropic*"]
protocol = "anthropic"
upstream = "{url}"
idle = 0.2

["idle-*"]
protocol = "openai"
upstream = "{url}/v1"
idle = 0.2

["single-patient"]
protocol = "openai"
upstream = "{url}/v1"
limits = {{ max_in_flight = 1 }}

["single"]
protocol = "openai"
upstream = "{url}/v1"
idle = 0.2
limits = {{ max_in_flight = 1 }}
"""


class Running:
    """A gateway, with a tap between it and the mock server."""

    def __init__(self, started: System, gateway: Process, mock: str, tap: Tap) -> None:
        self.system, self.gateway, self.mock, self.tap = started, gateway, mock, tap
        host, _, port = started.gateway_url.partition("://")[2].rpartition(":")
        self.address = (host, int(port))

    def behave(self, model_id: str, **behaviour: Any) -> None:
        url = f"{self.mock}/config/{model_id}"
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(behaviour).encode(), method="PUT")):
            pass

    def rows(self, model_id: str, count: int = 1) -> list[Any]:
        """The records of a model's calls, oldest first; exactly so many."""
        self.system.settled(model_id, count)
        rows: list[Any] = self.system.history(f"model_id={model_id}&limit=1000")["history"]
        assert len(rows) == count
        return rows[::-1]

    def row(self, model_id: str) -> Any:
        return self.rows(model_id)[0]

    def left(self, model_id: str) -> None:
        """Wait until the gateway has let go of the model server."""
        eventually(lambda: [heard.left for heard in self.tap.heard(model_id)], lambda left: left == [True])


@contextlib.contextmanager
def started(directory: Path) -> Iterator[Running]:
    with system(directory) as of_three:
        mock = of_three.start_mock().event("mock.listening")["url"]
        of_three.start_sidecar()
        with tapped(mock) as tap:
            models = directory / "models.toml"
            models.write_text(MODELS.format(url=tap.url))
            urls = {"INVOKER_OPENAI_URL": f"{tap.url}/v1", "INVOKER_ANTHROPIC_URL": tap.url}
            gateway = of_three.start_gateway(INVOKER_MODELS_FILE=str(models), **urls)
            yield Running(of_three, gateway, mock, tap)


def body_of(dialect: str, model_id: str, stream: bool = True, text: str = TEXT, **more: Any) -> bytes:
    body: dict[str, Any] = {"model": model_id, "stream": stream, "max_tokens": 99_999, **more}
    body["input" if dialect == "responses" else "messages"] = [{"role": "user", "content": text}]
    return json.dumps(body).encode()


@contextlib.contextmanager
def calling(running: Running, dialect: str, body: bytes, version: str = "1.1") -> Iterator[socket.socket]:
    """A caller's connection, once the model server has its request."""
    with contextlib.closing(socket.socket()) as caller:
        caller.settimeout(30)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        caller.connect(running.address)
        head = f"POST {PATHS[dialect]} HTTP/{version}\r\nHost: g\r\nContent-Length: {len(body)}\r\n\r\n"
        caller.sendall(head.encode() + body)
        model_id = json.loads(body)["model"]
        eventually(lambda: running.tap.requests(model_id), bool)
        yield caller


def read_until(caller: socket.socket, mark: bytes) -> bytes:
    got = bytearray()
    while mark not in got[-2 * READ_BYTES :]:
        piece = caller.recv(READ_BYTES)
        assert piece, got[-1000:]
        got += piece
    return bytes(got)


def read_all(caller: socket.socket) -> bytes:
    got = b""
    with contextlib.suppress(ConnectionError):
        while piece := caller.recv(READ_BYTES):
            got += piece
    return got


def outcome(running: Running, dialect: str, model_id: str) -> tuple[bool, bytes]:
    """Whether all came, with a clean end and a status that says so; and the body."""
    connection = http.client.HTTPConnection(*running.address, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", PATHS[dialect], body_of(dialect, model_id), {"Content-Type": "application/json"})
        with connection.getresponse() as response:
            try:
                return response.status == 200, response.read()
            except http.client.IncompleteRead as error:
                return False, error.partial
