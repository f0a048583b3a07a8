"""How a process gets its addresses, and how it says that it can't."""

import contextlib
import socket

import pytest

from shared.addresses import bind, close_all, listen, urls_of
from shared.settings import StartupError
from tests.tools import lack


def need_ipv6() -> None:
    if not socket.has_dualstack_ipv6():
        lack("no IPv6 here")


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1"), ("::1", "http://[::1]")])
def test_an_address_is_bound(host: str, url: str) -> None:
    """Port 0 takes a free one, and the URL says which."""
    with bind(host, 0, "X_PORT")[0] as bound:
        listen([bound], "X_PORT")
        assert urls_of([bound]) == f"{url}:{bound.getsockname()[1]}"
        socket.create_connection(bound.getsockname()[:2]).close()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a..b", "x" * 100, ""])
def test_an_address_of_another_machine(host: str) -> None:
    """The error names the setting of the host, and the value."""
    with pytest.raises(StartupError, match=r"^X_HOST: ") as error:
        bind(host, 0, "X_PORT")
    assert f"{host!r} is no address of this machine" in str(error.value)


@pytest.mark.parametrize("reuse_port", [False, True])
def test_a_port_that_is_taken(reuse_port: bool) -> None:
    """The error names the setting, the address and the reason."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError) as error, bind("127.0.0.1", port, "X_PORT", reuse_port=reuse_port)[0] as bound:
            listen([bound], "X_PORT")
    reason = "another process listens there (address already in use)"
    assert str(error.value) == f"X_PORT: 127.0.0.1:{port} can't be bound: {reason}"


def test_only_one_may_listen_on_a_port_that_is_not_shared() -> None:
    """Two sockets may be bound to it, until one of them listens."""
    with bind("127.0.0.1", 0, "X_PORT")[0] as first, bind("127.0.0.1", first.getsockname()[1], "X_PORT")[0] as second:
        listen([first], "X_PORT")
        with pytest.raises(StartupError, match=r"^X_PORT: 127\.0\.0\.1:\d+ can't be listened on: another process"):
            listen([second], "X_PORT")


def accepted_of(listeners: list[socket.socket]) -> int:
    """How many connections have come."""
    count = 0
    for listener in listeners:
        listener.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                listener.accept()[0].close()
                count += 1
    return count


@pytest.mark.parametrize(
    ("hosts", "reachable", "refused"),
    [
        ("::", ["::1", "127.0.0.1", "127.0.0.2"], []),
        ("*", ["::1", "127.0.0.1", "127.0.0.2"], []),
        ("127.0.0.1,127.0.0.2", ["127.0.0.1", "127.0.0.2"], ["::1", "127.0.0.3"]),
        ("127.0.0.1, ::1", ["127.0.0.1", "::1"], ["127.0.0.2"]),
        ("127.0.0.2,::", ["127.0.0.2", "::1"], ["127.0.0.1"]),
        ("127.0.0.1,127.0.0.1", ["127.0.0.1"], ["127.0.0.2", "::1"]),
        ("0.0.0.0", ["127.0.0.1", "127.0.0.2"], ["::1"]),
        ("::1", ["::1"], ["127.0.0.1"]),
    ],
)
@pytest.mark.parametrize("reuse_port", [False, True])
def test_hosts_are_listened_on(hosts: str, reachable: list[str], refused: list[str], reuse_port: bool) -> None:
    """All of them on one port, which is free, and no others; `*` is whatever the machine has."""
    need_ipv6()
    bound = bind(hosts, 0, "X_PORT", reuse_port=reuse_port)
    try:
        listen(bound, "X_PORT")
        (port,) = {one.getsockname()[1] for one in bound}
        for host in reachable:
            socket.create_connection((host, port), 20).close()
        for host in refused:  # where another process may listen on the same port
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection((host, port), 20).close()
        assert accepted_of(bound) == len(reachable)
        assert urls_of(bound).count(f":{port}") == len(bound)
    finally:
        close_all(bound)


def test_localhost_is_each_address_of_that_name() -> None:
    """Whichever of them a client tries first."""
    bound = bind("localhost", 0, "X_PORT")
    try:
        listen(bound, "X_PORT")
        for one in bound:
            socket.create_connection(one.getsockname()[:2], 20).close()
        assert ("127.0.0.1", bound[0].getsockname()[1]) in [one.getsockname()[:2] for one in bound]
    finally:
        close_all(bound)


def test_all_addresses_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine may have only IPv4."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    (bound,) = bind("*", 0, "X_PORT")
    with bound:
        assert bound.getsockname()[0] == "0.0.0.0"


@pytest.mark.parametrize("hosts", ["127.0.0.1,192.0.2.1", "127.0.0.1,", ",", "127.0.0.1,a..b"])
def test_one_of_several_that_is_no_address(hosts: str) -> None:
    """It is named, and the others are given back."""
    with pytest.raises(StartupError, match=r"^X_HOST: .* is no address of this machine"):
        bind(hosts, 0, "X_PORT")


def test_one_of_several_that_is_taken() -> None:
    """By another process: one line says which, and the others are given back."""
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match=rf"^X_PORT: 127\.0\.0\.2:{port} can't be bound: another process"):
            bind("127.0.0.1,127.0.0.2", port, "X_PORT")
        close_all(bind("127.0.0.1", port, "X_PORT"))
