"""The `invoker` command."""

import os

from invoker.delivery.ship_command import ship
from invoker.process.parent import Workers
from invoker.settings import InvokerSettings, ShipSettings
from shared import logs
from shared.clock import SystemClock
from shared.files import UMASK
from shared.settings import command, command_group, run_command


def run(settings: InvokerSettings) -> int:
    logs.configure(settings.log_format, settings.log_level)
    os.umask(UMASK)
    return Workers(settings, SystemClock()).run()


def run_ship(settings: ShipSettings) -> int:
    logs.configure(settings.log_format, settings.log_level)
    os.umask(UMASK)
    return ship(settings, SystemClock())


cli = command_group(
    "invoker",
    "Forwards model invocations and records each one exactly once.",
    InvokerSettings,
    run,
    [
        command(
            "ship",
            "Sends what dead workers left in their journals to the sidecar, and ends. "
            "Exit code 0 if nothing is left, 1 if something is.",
            ShipSettings,
            run_ship,
        )
    ],
)


def main() -> None:
    run_command(cli)


if __name__ == "__main__":
    main()
