"""Calls that arrive at random moments at a given rate, whatever the server does: its latency at part of its load.

wrk can't do this: its waits end on whole milliseconds, many at once, and it would measure its own bursts.
"""

import select
import socket
import time
from random import Random
from statistics import quantiles
from urllib.parse import urlsplit

import msgspec

from tests.bench.ground import BenchError
from tests.bench.load import SMALL_BODY

TIMEOUT_S = 20.0


class Latencies(msgspec.Struct, frozen=True):
    """From the request's sending to its answer's arrival."""

    rate: float
    p50_ms: float
    p99_ms: float


def arrivals(url: str, rate: float, seconds: float, connections: int) -> Latencies:
    """POST small bodies with exponentially distributed gaps; each on a connection that is free, if there is one."""
    random = Random(1)
    head = (
        f"POST /invoke HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(SMALL_BODY)}"
    )
    request = head.encode() + b"\r\n\r\n" + SMALL_BODY
    idle = [_connect(url) for _ in range(connections)]
    sockets = list(idle)
    sent: dict[socket.socket, float] = {}
    found: list[float] = []
    started = next_at = time.perf_counter()
    try:
        while (now := time.perf_counter()) < started + seconds or sent:
            if now < started + seconds and idle and now >= next_at:
                connection = idle.pop()
                sent[connection] = time.perf_counter()
                connection.sendall(request)
                next_at += random.expovariate(rate)
                continue
            # select, because its timeout is in µs; epoll's is in ms.
            readable, _, _ = select.select(list(sent), [], [], max(next_at - now, 0.0) if idle else TIMEOUT_S)
            arrived = time.perf_counter()
            for connection in readable:
                _receive(connection)
                found.append((arrived - sent.pop(connection)) * 1000)
                idle.append(connection)
    finally:
        for connection in sockets:
            connection.close()
    hundredths = quantiles(found, n=100)
    return Latencies(len(found) / seconds, hundredths[49], hundredths[98])


def _connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname or "", parts.port or 80), TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _receive(connection: socket.socket) -> None:
    """One answer, which is small and has a length."""
    data = b""
    while True:
        part = connection.recv(65536)
        data += part
        head, separator, body = data.partition(b"\r\n\r\n")
        if not part or not data.startswith(b"HTTP/1.1 200"):
            raise BenchError(f"a call was answered with {data[:200]!r}")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if separator and length and len(body) >= int(length):
            return
