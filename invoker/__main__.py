"""The `invoker` command."""

from invoker.settings import InvokerSettings
from invoker.workers import Workers
from shared import logs
from shared.clock import SystemClock
from shared.settings import command, run_command


def run(settings: InvokerSettings) -> int:
    logs.configure(settings.log_format, settings.log_level)
    return Workers(settings, SystemClock()).run()


cli = command("invoker", "Forwards model invocations and records each one exactly once.", InvokerSettings, run)


def main() -> None:
    run_command(cli)


if __name__ == "__main__":
    main()
