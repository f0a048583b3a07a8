"""One worker process: serves until it is told to stop, then drains in a fixed order."""

import asyncio
import os
import signal

import uvloop

from invoker.app import CONNECTIONS, INVOKER, make_app
from invoker.models import Models
from invoker.routes import ANSWERING
from invoker.settings import InvokerSettings
from shared import logs
from shared.serving import bind, listen, running, stop_signal, stop_signals, url_of

log = logs.get("worker")


def run_worker(settings: InvokerSettings, models: Models, number: int, parent_pipe: int) -> None:
    """Serve on the shared port until a stop signal, or until the parent is gone (its pipe closes)."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, models, number, parent_pipe))


async def _serve(settings: InvokerSettings, models: Models, number: int, parent_pipe: int) -> None:
    stop = stop_signal()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*stop_signals(), signal.SIGCHLD})  # the parent blocked them
    loop = asyncio.get_running_loop()

    def parent_gone() -> None:
        loop.remove_reader(parent_pipe)
        stop.set()

    loop.add_reader(parent_pipe, parent_gone)
    app = make_app(settings, models)
    async with running(app, grace_s=1.0) as runner:
        bound = bind(settings.host, settings.port, "INVOKER_PORT", reuse_port=True)
        listen(bound, "INVOKER_PORT")
        assert runner.server is not None
        connections = app[CONNECTIONS]
        connections.serve(app[ANSWERING], runner.server)
        listener = connections.listen(bound)
        log.info("worker.listening", worker=number, url=url_of(bound), pid=os.getpid())
        await stop.wait()
        log.info("worker.draining", worker=number, in_flight=app[INVOKER].in_flight.total)
        listener.close()
        await app[INVOKER].drain(settings.shutdown_grace_s)
        await connections.close(grace_s=1.0)
