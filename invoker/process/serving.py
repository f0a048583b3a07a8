"""One worker process: serves until it is told to stop, goes on for the delay, then drains in a fixed order."""

import asyncio
import contextlib
import os
import signal
from functools import partial

import uvloop

from invoker.front.app import make_app
from invoker.process.assembly import assembled
from invoker.process.common import Common
from invoker.process.snapshot import Snapshot, Swapping
from invoker.settings import InvokerSettings
from shared import logs
from shared.addresses import bind, listen, urls_of
from shared.serving import running, stop_signals

log = logs.get("worker")


def run_worker(settings: InvokerSettings, snapshot: Snapshot, number: int, parent_pipe: int, common: Common) -> None:
    """Serve on the shared port until a stop signal, or until the parent is gone (its pipe closes)."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, snapshot, number, parent_pipe, common))


async def _serve(settings: InvokerSettings, snapshot: Snapshot, number: int, parent_pipe: int, common: Common) -> None:
    stop = _Stop(parent_pipe)
    others = partial(common.ask, number)
    async with (
        assembled(settings, snapshot, common.tallies.of(number), others) as (worker, models),
        running(make_app(worker), grace_s=1.0) as runner,
    ):
        bound = bind(settings.host, settings.port, "INVOKER_PORT", reuse_port=True)
        listen(bound, "INVOKER_PORT")
        assert runner.server is not None
        connections = worker.connections
        connections.serve(runner.server)
        listeners = [connections.listen(one) for one in bound]
        swapping = Swapping(common.models, models.swap)

        def each_time() -> None:
            swapping.look()
            common.tell_if_asked(number, models.states)

        common.heartbeats.beat(number, asyncio.get_running_loop(), each_time)
        log.info("worker.listening", worker=number, url=urls_of(bound), pid=os.getpid())
        await stop.wait()
        worker.answering.stopping = True
        await stop.wait_at_once(settings.drain_delay_s)
        log.info("worker.draining", worker=number, in_flight=worker.invoker.in_flight.total)
        for listener in listeners:
            listener.close()
        connections.close_idle()
        await worker.invoker.drain(settings.shutdown_grace_s)
        await connections.close(grace_s=1.0)


class _Stop:
    """What ends this worker: SIGTERM in good time, any other signal or the parent's end at once."""

    def __init__(self, parent_pipe: int) -> None:
        self._asked, self._at_once = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._pipe = parent_pipe
        for number in stop_signals():
            self._loop.add_signal_handler(number, self._asked.set if number == signal.SIGTERM else self._end_at_once)
        self._loop.add_reader(parent_pipe, self._parent_gone)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*stop_signals(), signal.SIGCHLD})  # the parent blocked them

    async def wait(self) -> None:
        await self._asked.wait()

    async def wait_at_once(self, seconds: float) -> None:
        """Until it must be now."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._at_once.wait(), seconds)

    def _end_at_once(self) -> None:
        self._asked.set()
        self._at_once.set()

    def _parent_gone(self) -> None:
        self._loop.remove_reader(self._pipe)
        self._end_at_once()
