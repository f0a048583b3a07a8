"""The addresses that a process listens on: had, or said why not."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterable

from shared.settings import StartupError

BACKLOG = 1024
ALL = "*"
"""All addresses of the machine, by IPv6 and IPv4, or by IPv4 where there is no other."""
PORT_TRIES = 20
"""A port that is free on one address may be taken on the next."""

Address = tuple[socket.AddressFamily, str]


def bind(hosts: str, port: int, setting: str, *, reuse_port: bool = False) -> list[socket.socket]:
    """Bound TCP sockets that don't listen yet, one for each address of `hosts`, which commas separate; with port 0 all
    get the same, a free one. `StartupError` naming the setting of the port, or of the host, if one can't be had."""
    addresses = _addresses(hosts, setting)
    for _ in range(PORT_TRIES if port == 0 and len(addresses) > 1 else 0):
        with contextlib.suppress(StartupError):
            return _bind_each(addresses, port, setting, reuse_port=reuse_port)
    return _bind_each(addresses, port, setting, reuse_port=reuse_port)


def _addresses(hosts: str, setting: str) -> list[Address]:
    """Each once, in the order given."""
    found: dict[Address, None] = {}
    for host in hosts.split(","):
        name = host.strip()
        if name == ALL:
            name = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"
        try:
            resolved = socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that no DNS can hold
            raise StartupError(_no_address(setting, name, error)) from None
        here = [(family, str(address[0])) for family, _, _, _, address in resolved]
        found |= dict.fromkeys([one for one in here if _is_here(one)] or here)
    return [*found]


def _is_here(address: Address) -> bool:
    """A name such as localhost may stand for an address of a family that this machine has not."""
    family, host = address
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


def _bind_each(addresses: list[Address], port: int, setting: str, *, reuse_port: bool) -> list[socket.socket]:
    bound: list[socket.socket] = []
    only_ipv6 = any(family == socket.AF_INET for family, _ in addresses)
    try:
        for family, host in addresses:
            common_port = bound[0].getsockname()[1] if bound else port
            bound.append(_bind(family, host, common_port, setting, reuse_port=reuse_port, only_ipv6=only_ipv6))
    except StartupError:
        close_all(bound)
        raise
    return bound


def _bind(
    family: socket.AddressFamily, host: str, port: int, setting: str, *, reuse_port: bool, only_ipv6: bool
) -> socket.socket:
    try:
        bound = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise StartupError(_no_address(setting, host, error)) from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # :: is IPv4's addresses, too, as everybody expects who asks for all of them
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_ipv6 or not socket.has_dualstack_ipv6())
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise StartupError(_no_address(setting, host, error)) from None
        raise StartupError(f"{setting}: {host}:{port} can't be bound: {describe(error)}") from None
    return bound


def _no_address(port_setting: str, host: str, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else error
    return f"{port_setting.removesuffix('PORT')}HOST: {host!r} is no address of this machine: {reason}"


def listen(bound: Iterable[socket.socket], setting: str) -> None:
    """Listen on bound sockets. Two sockets may be bound to one port, but only one may listen."""
    for one in bound:
        try:
            one.listen(BACKLOG)
        except OSError as error:
            host, port = one.getsockname()[:2]
            raise StartupError(f"{setting}: {host}:{port} can't be listened on: {describe(error)}") from None


def close_all(bound: Iterable[socket.socket]) -> None:
    for one in bound:
        one.close()


def describe(error: OSError) -> str:
    """The reason in the system's words, with a hint where one is sure."""
    if error.errno == errno.EADDRINUSE:
        return "another process listens there (address already in use)"
    return os.strerror(error.errno) if error.errno is not None else str(error)


def urls_of(bound: Iterable[socket.socket]) -> str:
    """The http URLs of bound sockets, with commas between them."""
    return ", ".join(map(_url_of, bound))


def _url_of(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if bound.family == socket.AF_INET6 else f"http://{host}:{port}"
