"""A wire that is listened to: what goes through it between the gateway and a model server, byte for byte."""

import contextlib
import http.client
import io
import socket
import socketserver
import threading
from typing import NamedTuple
from urllib.parse import urlsplit

READ_BYTES = 64 * 1024


class Request(NamedTuple):
    """One that the model server got."""

    path: str
    headers: http.client.HTTPMessage
    body: bytes


class _Wire(socketserver.BaseRequestHandler):
    """One connection: each way is copied by a thread of its own until either end closes it."""

    server: "Tap"

    def handle(self) -> None:
        gateway: socket.socket = self.request
        heard = self.server.listen()
        with contextlib.closing(socket.create_connection(self.server.upstream)) as model_server:
            answers = threading.Thread(target=_copy, args=(model_server, gateway, heard.answers))
            answers.start()
            _copy(gateway, model_server, heard.requests)
            answers.join()


class _Heard(NamedTuple):
    requests: bytearray
    answers: bytearray


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
        self._heard: list[_Heard] = []

    def listen(self) -> _Heard:
        heard = _Heard(bytearray(), bytearray())
        self._heard.append(heard)
        return heard

    def requests(self, model_id: str) -> list[Request]:
        """All whole ones so far that name the model."""
        every = [request for heard in list(self._heard) for request in _requests(bytes(heard.requests))]
        return [request for request in every if f'"{model_id}"'.encode() in request.body]

    def said(self, piece: bytes) -> bool:
        """Whether a model server has answered with these bytes, in one piece."""
        return any(piece in bytes(heard.answers) for heard in list(self._heard))


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
