"""A wire that is listened to: what goes through it between the gateway and a model server, byte for byte."""

import contextlib
import http.client
import io
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

READ_BYTES = 64 * 1024
BUFFER_BYTES = 64 * 1024
"""The system's own would be large enough for all that tests send, and nobody would ever wait for who reads slowly."""


class Request(NamedTuple):
    """One that the model server got."""

    path: str
    headers: http.client.HTTPMessage
    body: bytes


@dataclass
class Heard:
    """Of one connection; `left`: the gateway has closed it."""

    requests: bytearray = field(default_factory=bytearray)
    answers: bytearray = field(default_factory=bytearray)
    left: bool = False


class _Wire(socketserver.BaseRequestHandler):
    """One connection: each way is copied by a thread of its own until either end closes it."""

    server: "Tap"

    def handle(self) -> None:
        gateway: socket.socket = self.request
        heard = self.server.listen()
        with contextlib.closing(socket.create_connection(self.server.upstream)) as model_server:
            model_server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
            gateway.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
            answers = threading.Thread(target=_copy, args=(model_server, gateway, heard.answers))
            answers.start()
            _copy(gateway, model_server, heard.requests)
            heard.left = True
            answers.join()


class Tap(socketserver.ThreadingTCPServer):
    """Listens on a port of its own and passes all on to `upstream`, a URL without a path."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Wire)
        place = urlsplit(upstream)
        assert place.hostname is not None
        self.upstream = (place.hostname, place.port or 80)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._heard: list[Heard] = []

    def listen(self) -> Heard:
        heard = Heard()
        self._heard.append(heard)
        return heard

    def heard(self, model_id: str) -> list[Heard]:
        """The connections on which the model was asked for."""
        return [heard for heard in list(self._heard) if _named(model_id) in heard.requests]

    def requests(self, model_id: str) -> list[Request]:
        """All whole ones so far that name the model."""
        return [request for request in self._all() if _named(model_id) in request.body]

    def forms(self, model_id: str) -> list[Request]:
        """Likewise, whose bodies are forms."""
        return [request for request in self._all() if f'name="model"\r\n\r\n{model_id}\r\n'.encode() in request.body]

    def sent_to(self, path: str) -> list[Request]:
        """Likewise, whose path this is."""
        return [request for request in self._all() if request.path == path]

    def _all(self) -> list[Request]:
        return [request for heard in list(self._heard) for request in _requests(bytes(heard.requests))]

    def said(self, piece: bytes) -> bool:
        """Whether a model server has answered with these bytes, in one piece."""
        return any(piece in heard.answers for heard in list(self._heard))


@contextlib.contextmanager
def tapped(upstream: str) -> Iterator[Tap]:
    """One that serves, until the end."""
    with Tap(upstream) as tap:
        serving = threading.Thread(target=tap.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        try:
            yield tap
        finally:
            tap.shutdown()
            serving.join()


def _named(model_id: str) -> bytes:
    return f'"{model_id}"'.encode()


def _copy(source: socket.socket, target: socket.socket, heard: bytearray) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(READ_BYTES):
            heard += piece
            target.sendall(piece)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _requests(sent: bytes) -> list[Request]:
    stream, found = io.BytesIO(sent), []
    while line := stream.readline():
        headers = http.client.parse_headers(stream)
        body = stream.read(int(headers.get("Content-Length", "0")))
        found.append(Request(line.split()[1].decode(), headers, body))
    return found
