"""The `metrics-sidecar` command."""

import asyncio
import sys

import uvloop

from metrics_sidecar.app import ACCEPTORS, INTAKE, make_app
from metrics_sidecar.commands.cli import COMMANDS
from metrics_sidecar.commands.verify import verify
from metrics_sidecar.intake.file_plan import plan_files
from metrics_sidecar.settings import SidecarSettings, VerifySettings
from shared import logs
from shared.addresses import bind, listen, urls_of
from shared.serving import running, serving, stop_signal
from shared.settings import command, command_group, run_command

HTTP_GRACE_S = 5.0

SWITCH_INTERVAL_S = 0.001
"""How long the event loop waits at most for Python that runs on the ledger's thread. Python's own 5 ms are half
of what may delay it at all."""

log = logs.get("sidecar")


async def serve(settings: SidecarSettings) -> None:
    """Serve until a signal; then commit what connected workers still send, and close."""
    stop = stop_signal()
    app = make_app(settings)
    bound = bind(settings.host, settings.port, "SIDECAR_PORT")
    listen(bound, "SIDECAR_PORT")
    async with running(app, HTTP_GRACE_S) as runner, serving(runner, bound, app[ACCEPTORS], app[INTAKE].reserve):
        log.info("sidecar.listening", url=urls_of(bound), socket=str(settings.socket))
        await stop.wait()
        log.info("sidecar.stopping", producers=len(app[INTAKE].producers))
        await app[INTAKE].wait_until_left(settings.shutdown_grace_s)
    log.info("sidecar.stopped")


def run(settings: SidecarSettings) -> None:
    logs.configure(settings.log_format, settings.log_level)
    logs.start_writer()
    plan_files(settings.max_producers)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


cli = command_group(
    "metrics-sidecar",
    "Keeps the record of every invocation: history, statistics and Prometheus metrics.",
    SidecarSettings,
    run,
    [
        command(
            "verify",
            "Checks that the history of a data directory is sound and its books agree. Writes nothing. "
            "Exit code 0 if so, 1 if not, 2 if it can't be read.",
            VerifySettings,
            verify,
        ),
        *COMMANDS,
    ],
)


def main() -> None:
    run_command(cli)


if __name__ == "__main__":
    main()
