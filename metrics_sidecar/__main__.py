"""The `metrics-sidecar` command."""

import asyncio

import uvloop
from aiohttp import web

from metrics_sidecar.app import INTAKE, make_app
from metrics_sidecar.settings import SidecarSettings
from shared import logs
from shared.serving import bind, listen, running, stop_signal, url_of
from shared.settings import command, run_command

HTTP_GRACE_S = 5.0

log = logs.get("sidecar")


async def serve(settings: SidecarSettings) -> None:
    """Serve until a signal; then commit what connected workers still send, and close."""
    stop = stop_signal()
    bound = bind(settings.host, settings.port, "SIDECAR_PORT")
    listen(bound, "SIDECAR_PORT")
    app = make_app(settings)
    async with running(app, HTTP_GRACE_S) as runner:
        await web.SockSite(runner, bound).start()
        log.info("sidecar.listening", url=url_of(bound), socket=str(settings.socket))
        await stop.wait()
        log.info("sidecar.stopping", producers=len(app[INTAKE].producers))
        await app[INTAKE].wait_until_left(settings.shutdown_grace_s)
    log.info("sidecar.stopped")


def run(settings: SidecarSettings) -> None:
    logs.configure(settings.log_format, settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


cli = command(
    "metrics-sidecar",
    "Keeps the record of every invocation: history, statistics and Prometheus metrics.",
    SidecarSettings,
    run,
)


def main() -> None:
    run_command(cli)


if __name__ == "__main__":
    main()
