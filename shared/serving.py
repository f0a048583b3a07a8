"""Running one aiohttp application as a process does: serve until a signal, clean up."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence

from aiohttp import web

from shared.accepting import Acceptor, Acceptors
from shared.addresses import BACKLOG
from shared.request_handler import SERVER, RequestHandler


def close_while(app: web.Application, closing: Callable[[], bool]) -> None:
    """Have the application end each connection with its next answer, as long as `closing` says so."""

    async def on_prepare(_request: web.Request, response: web.StreamResponse) -> None:
        if closing():
            response.headers["Connection"] = "close"
            response.force_close()

    app.on_response_prepare.append(on_prepare)


async def _name_server(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = SERVER


@contextlib.asynccontextmanager
async def running(app: web.Application, grace_s: float) -> AsyncIterator[web.AppRunner]:
    """The application, started; at the end its open requests get the grace time to finish."""
    app.on_response_prepare.append(_name_server)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=grace_s, handler_cancellation=True)
    try:
        await runner.setup()
        yield runner
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def serving(
    runner: web.AppRunner,
    bound: Sequence[socket.socket],
    acceptors: Acceptors | None = None,
    reserve: Callable[[], int] = lambda: 0,
) -> AsyncIterator[None]:
    """Connections to these sockets are the application's, while more files than `reserve` are free; at the end no more
    are accepted."""
    server = runner.server
    assert server is not None
    accepting = acceptors or Acceptors()
    listeners: list[Acceptor] = []
    for one in bound:
        one.listen(BACKLOG)
        listeners.append(accepting.listen(one, lambda: RequestHandler(server), reserve))
    try:
        yield
    finally:
        for listener in listeners:
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
