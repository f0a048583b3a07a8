"""`make run`: mock server, sidecar and gateway in the foreground, until Ctrl-C, SIGTERM or the first end."""

import asyncio
import http.client
import os
import shlex
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import click

from deploy.mock_server import MockSettings
from deploy.supervisor import Supervisor, end_with_parent
from invoker.settings import InvokerSettings
from metrics_sidecar.settings import SidecarSettings
from shared import isolated
from shared.addresses import ALL, bind, close_all, listen
from shared.settings import StartupError, options, run_command

POLL_INTERVAL_S = 0.2
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", ALL: "127.0.0.1"}

EXAMPLE_BODY = '{"worklet_input": {"model_id": "gpt-3.5", "input": [1, 2, 3, 4, 5]}}'

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Service:
    """One process of the stack: how it is started, and where it says that it is ready."""

    name: str
    module: str
    host: str
    port: int
    port_setting: str
    ready_path: str

    @property
    def command(self) -> str:
        return shlex.join(isolated.python(self.module))

    @property
    def reachable_host(self) -> str:
        first = self.host.partition(",")[0].strip()
        return ANY_ADDRESS.get(first, first)

    @property
    def url(self) -> str:
        host = self.reachable_host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def services() -> list[Service]:
    """The stack in order of start, with hosts and ports from the settings of each process."""
    mock = _read(MockSettings)
    sidecar = _read(SidecarSettings)
    gateway = _read(InvokerSettings)
    return [
        Service("mock", "deploy.mock_server", mock.host, mock.port, "MOCK_PORT", "/healthz"),
        Service("sidecar", "metrics_sidecar", sidecar.host, sidecar.port, "SIDECAR_PORT", "/healthz"),
        Service("gateway", "invoker", gateway.host, gateway.port, "INVOKER_PORT", "/readyz"),
    ]


def _read(settings_class: type[Settings]) -> Settings:
    """A process's settings as the environment gives them, checked as the process itself does."""
    context = click.Command("run", params=[*options(settings_class)]).make_context("run", [])
    return settings_class(**context.params)


def check_ports(stack: list[Service]) -> None:
    """Raise `StartupError` for a port that can't be had, before anything is started.

    The gateway shares its port with SO_REUSEPORT, so an older one that still runs would not stop it from
    starting, and would get half of its calls.
    """
    for service in stack:
        if service.port == 0:
            raise StartupError(f"{service.port_setting}: 0 (any free port) is not possible here")
        try:
            probes = bind(service.host, service.port, service.port_setting)
            try:
                listen(probes, service.port_setting)
            finally:
                close_all(probes)
        except StartupError as error:
            raise StartupError(f"the {service.name} can't start: {error}") from None


def environment(stack: list[Service], given: Mapping[str, str]) -> dict[str, str]:
    """The environment of all processes: they find each other wherever their ports are."""
    mock, sidecar, _ = stack
    found = {
        "INVOKER_UPSTREAM_URL": f"{mock.url}/invoke",
        "INVOKER_OPENAI_URL": f"{mock.url}/v1",
        "INVOKER_ANTHROPIC_URL": mock.url,
        "INVOKER_KSERVE_URL": mock.url,
        "INVOKER_SIDECAR_URL": sidecar.url,
        "INVOKER_DRAIN_DELAY_S": "0",  # here, all callers are stopped as well
    }
    return {**found, **given, "PYTHONUNBUFFERED": "1"}


async def all_ready(stack: list[Service]) -> None:
    """Return once each service has said that it is."""
    for service in stack:
        while not await asyncio.to_thread(is_ready, service):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(POLL_INTERVAL_S)


async def welcome(stack: list[Service]) -> str:
    """Where to look, as soon as everything is ready."""
    await all_ready(stack)
    _, sidecar, gateway = stack
    return (
        "\nEverything is running. Stop it with Ctrl-C.\n\n"
        f"  gateway   {gateway.url}/docs\n"
        f"  sidecar   {sidecar.url}/docs\n\n"
        f"  curl -X POST {gateway.url}/invoke -H 'Content-Type: application/json' \\\n"
        f"    -d '{EXAMPLE_BODY}'\n"
        f"  curl '{gateway.url}/metrics/stats'\n"
        "  make load\n"
    )


def is_ready(service: Service) -> bool:
    """Whether the service answers 200 where it says that it is ready."""
    connection = http.client.HTTPConnection(service.reachable_host, service.port, timeout=2.0)
    try:
        connection.request("GET", service.ready_path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def run(*, with_parent: bool = False) -> int:
    """Run the stack; the exit code is 0 after a requested stop, else that of the process that ended."""
    if with_parent:
        end_with_parent(signal.SIGTERM)
    stack = services()
    check_ports(stack)
    commands = {service.name: service.command for service in stack}
    return Supervisor(commands, environment(stack, os.environ), lambda: welcome(stack)).run()


cli = click.Command(
    "run",
    help="Run mock server, sidecar and gateway.",
    params=[click.Option(["--with-parent"], is_flag=True, help="Stop when the parent process dies.")],
    callback=lambda with_parent: run(with_parent=with_parent),
)


def main() -> None:
    run_command(cli)


if __name__ == "__main__":
    main()
