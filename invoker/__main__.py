"""The `invoker` command."""

import os
from pathlib import Path

import click

from invoker.delivery.ship_command import ship
from invoker.process.check_command import check
from invoker.process.parent import Workers
from invoker.settings import InvokerSettings, ShipSettings
from shared import logs
from shared.clock import SystemClock
from shared.files import UMASK
from shared.settings import PATH, command, command_group, options, run_command


def run(settings: InvokerSettings) -> int:
    logs.configure(settings.log_format, settings.log_level)
    os.umask(UMASK)
    return Workers(settings, SystemClock()).run()


def run_ship(settings: ShipSettings) -> int:
    logs.configure(settings.log_format, settings.log_level)
    os.umask(UMASK)
    return ship(settings, SystemClock())


def run_check(file: Path | None, models_file: Path | None) -> int:
    return check(file or models_file)


CHECK = click.Command(
    "check-config",
    help="Tells all that is wrong in a models FILE, and what has no effect there. Without FILE it is that of "
    "--models-file. Keys that it names are looked for, as a gateway would. Exit code 0 if it can be used, 2 if not.",
    params=[
        click.Argument(["file"], type=PATH, required=False, metavar="[FILE]"),
        *(option for option in options(InvokerSettings) if option.name == "models_file"),
    ],
    callback=run_check,
)

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
        ),
        CHECK,
    ],
)


def main() -> None:
    run_command(cli)


if __name__ == "__main__":
    main()
