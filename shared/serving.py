"""Running one aiohttp application as a process does: bind or say why not, serve until a signal, clean up."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from shared.accepting import Acceptors
from shared.request_handler import RequestHandler
from shared.settings import StartupError

BACKLOG = 1024


def close_while(app: web.Application, closing: Callable[[], bool]) -> None:
    """Have the application end each connection with its next answer, as long as `closing` says so."""

    async def on_prepare(_request: web.Request, response: web.StreamResponse) -> None:
        if closing():
            response.headers["Connection"] = "close"
            response.force_close()

    app.on_response_prepare.append(on_prepare)


def bind(host: str, port: int, setting: str, *, reuse_port: bool = False) -> socket.socket:
    """A bound TCP socket that doesn't listen yet; `StartupError` naming the setting if it can't be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that no DNS can hold
        raise StartupError(_no_address(setting, host, error)) from None
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise StartupError(_no_address(setting, host, error)) from None
        raise StartupError(f"{setting}: {host}:{port} can't be bound: {describe(error)}") from None
    return bound


def _no_address(port_setting: str, host: str, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else error
    return f"{port_setting.removesuffix('PORT')}HOST: {host!r} is no address of this machine: {reason}"


def listen(bound: socket.socket, setting: str) -> None:
    """Listen on a bound socket. Two sockets may be bound to one port, but only one may listen."""
    try:
        bound.listen(BACKLOG)
    except OSError as error:
        host, port = bound.getsockname()[:2]
        raise StartupError(f"{setting}: {host}:{port} can't be listened on: {describe(error)}") from None


def describe(error: OSError) -> str:
    """The reason in the system's words, with a hint where one is sure."""
    if error.errno == errno.EADDRINUSE:
        return "another process listens there (address already in use)"
    return os.strerror(error.errno) if error.errno is not None else str(error)


def url_of(bound: socket.socket) -> str:
    """The http URL of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if bound.family == socket.AF_INET6 else f"http://{host}:{port}"


@contextlib.asynccontextmanager
async def running(app: web.Application, grace_s: float) -> AsyncIterator[web.AppRunner]:
    """The application, started; at the end its open requests get the grace time to finish."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=grace_s, handler_cancellation=True)
    try:
        await runner.setup()
        yield runner
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def serving(
    runner: web.AppRunner,
    bound: socket.socket,
    acceptors: Acceptors | None = None,
    reserve: Callable[[], int] = lambda: 0,
) -> AsyncIterator[None]:
    """Connections to this socket are the application's, while more files than `reserve` are free; at the end no more
    are accepted."""
    server = runner.server
    assert server is not None
    bound.listen(BACKLOG)
    listener = (acceptors or Acceptors()).listen(bound, lambda: RequestHandler(server), reserve)
    try:
        yield
    finally:
        listener.close()
        await listener.wait_closed()


def stop_signal() -> asyncio.Event:
    """Set by a stop signal from now on."""
    event = asyncio.Event()
    on_signals(event.set)
    return event


def stop_signals() -> set[signal.Signals]:
    """SIGTERM, SIGINT, and SIGHUP (the terminal is gone) unless `nohup` or the like has it ignored."""
    hangup = set() if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else {signal.SIGHUP}
    return {signal.SIGTERM, signal.SIGINT} | hangup


def on_signals(callback: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in stop_signals():
        loop.add_signal_handler(number, callback)
