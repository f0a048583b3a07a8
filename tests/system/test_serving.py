"""What all three servers have in common: addresses, words of settings, and what they tell of themselves."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Process, System, get, system
from tests.shared.test_addresses import need_ipv6

REQUESTS = [
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /docs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"POST /invoke HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\n{",
    b"POST /invoke HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"BREW\r\n\r\n",
    b"GET / HTTP/9\r\n\r\n",
]
SERVERS = ["invoker", "metrics_sidecar", "deploy.mock_server"]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[System]:
    with system(tmp_path) as running:
        yield running


def ports_of(process: Process, event: str) -> set[int]:
    return {int(url.rpartition(":")[2]) for url in process.event(event)["url"].split(", ")}


def ask(host: str, port: int, request: bytes) -> bytes:
    with socket.create_connection((host, port), 20) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("hosts", ["*", "::", "127.0.0.1,::1"])
def test_servers_listen_on_all_addresses(started: System, hosts: str) -> None:
    """By IPv4 and IPv6, on one port each; two workers share it on both."""
    need_ipv6()
    mock = started.start_mock(MOCK_HOST=hosts)
    started.upstream = f"http://127.0.0.1:{ports_of(mock, 'mock.listening').pop()}/invoke"
    sidecar = started.start_sidecar(SIDECAR_HOST=hosts)
    (sidecar_port,) = ports_of(sidecar, "sidecar.listening")
    started.sidecar_url = f"http://127.0.0.1:{sidecar_port}"
    gateway = started.start_gateway(INVOKER_HOST=hosts, INVOKER_WORKERS="2")
    (gateway_port,) = ports_of(gateway, "worker.listening")
    for host in ("127.0.0.1", "::1"):
        for port in (*ports_of(mock, "mock.listening"), sidecar_port, gateway_port):
            assert ask(host, port, REQUESTS[0]).startswith(b"HTTP/1.1 200 OK\r\n")
    started.gateway_url = f"http://[::1]:{gateway_port}"
    assert started.invoke()[0] == 200
    assert get(f"http://[::1]:{gateway_port}/metrics/stats")["stats"] is not None
    assert [process.stop() for process in (gateway, sidecar, mock)] == [0, 0, 0]


def test_no_server_tells_its_versions(started: System) -> None:
    """Whatever it answers, and whether an application answers or what stands before it."""
    started.start_mock()
    started.start_sidecar()
    started.start_gateway()
    for url in (started.gateway_url, started.sidecar_url, started.upstream.removesuffix("/invoke")):
        for request in REQUESTS:
            head = ask("127.0.0.1", int(url.rpartition(":")[2]), request).partition(b"\r\n\r\n")[0].decode()
            assert head.startswith("HTTP/1.")
            assert re.findall(r"(?mi)^(?:server|x-powered-by): *(.*?)\r?$", head) in ([], ["invocation-gateway"]), head


@pytest.mark.parametrize(
    ("level", "form", "text"), [("INFO", "JSON", "{"), ("warn", "Text", ""), ("Warning", "json", "")]
)
def test_words_have_any_case(started: System, level: str, form: str, text: str) -> None:
    """And the level that is left out by its other name is left out."""
    gateway = Process(
        "invoker",
        {
            "INVOKER_PORT": "0",
            "INVOKER_JOURNAL_DIR": str(started.directory / "journal"),
            "INVOKER_DURABILITY": "Power",
            "LOG_LEVEL": level,
            "LOG_FORMAT": form,
            "INVOKER_HOST": "127.0.0.1" if text else "192.0.2.1",
        },
    )
    try:
        if text:
            gateway.event("worker.listening")
            assert gateway.stop() == 0
        else:
            assert gateway.wait() == 2
            assert gateway.stderr.startswith("invoker: error: INVOKER_HOST: ")
    finally:
        gateway.kill_all()


@pytest.mark.parametrize(("module", "arguments"), [("invoker", []), ("invoker", ["ship"]), ("metrics_sidecar", [])])
def test_a_socket_path_that_no_address_holds(tmp_path: Path, module: str, arguments: list[str]) -> None:
    """Is refused at the start by whoever would have it, instead of being tried for ever."""
    path = f"/tmp/{'x' * 103}"
    process = Process(module, {"SIDECAR_SOCKET": path, "INVOKER_JOURNAL_DIR": str(tmp_path)}, *arguments)
    try:
        assert process.wait() == 2
        assert process.stderr.count("\n") == 1
        assert f"{path!r} is not a path of 1 to 107 bytes" in process.stderr
        assert "SIDECAR_SOCKET" in process.stderr
    finally:
        process.kill_all()


def test_a_page_may_call_where_the_settings_say_so(started: System) -> None:
    """Calls, which need no application otherwise, too; and what the gateway forwards has each header once."""
    started.start_mock()
    started.start_sidecar(SIDECAR_CORS_ORIGINS="http://a.example")
    started.start_gateway(INVOKER_CORS_ORIGINS="http://a.example")
    body = b'{"worklet_input":{"model_id":"m","input":[1]}}'
    origin = b"Host: x\r\nConnection: close\r\nOrigin: http://a.example\r\n"
    call = b"POST /invoke HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (origin, len(body), body)
    preflight = b"OPTIONS %b HTTP/1.1\r\n" + origin + b"Access-Control-Request-Method: POST\r\n\r\n"
    stats = b"GET /metrics/stats HTTP/1.1\r\n" + origin + b"\r\n"
    for url, requests in (
        (started.gateway_url, [call, preflight % b"/invoke", stats]),
        (started.sidecar_url, [preflight % b"/metrics/stats", stats]),
    ):
        for request in requests:
            answer = ask("127.0.0.1", int(url.rpartition(":")[2]), request)
            assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 204 "))
            assert answer.count(b"\r\nAccess-Control-Allow-Origin: http://a.example\r\n") == 1
