"""`make demo`: what `make run` runs, with callers, and Prometheus with the stack's rules if it is installed."""

import json
import os
import shlex
import shutil
import signal
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click

from deploy.run import Service, all_ready, check_ports, environment, services
from deploy.supervisor import Supervisor, end_with_parent
from shared import isolated
from shared.settings import run_command

RULES = Path(__file__).parent / "prometheus" / "rules"
PROMETHEUS_PORTS = range(9090, 9100)
"""The first that is free: Debian's package starts a Prometheus of its own on 9090."""

BEHAVIOUR = "bert-base=failure=0.1 llama-3=lognormal:2500ms,0.3 whisper=lognormal:400ms,0.5"
"""One model fails now and then, one is slow."""

NO_PROMETHEUS = "Prometheus is not installed (Debian: apt-get install prometheus); the demo goes on without it."


async def welcome(stack: list[Service], prometheus_url: str | None) -> str:
    """Where to look, as soon as everything is ready."""
    await all_ready(stack)
    mock, sidecar, gateway = stack
    prometheus = f"  prometheus  {prometheus_url}/targets, {prometheus_url}/alerts\n" if prometheus_url else ""
    return (
        "\nEverything is running, and four models are called. Stop it with Ctrl-C; nothing is kept.\n\n"
        f"  gateway     {gateway.url}/docs\n"
        f"  sidecar     {sidecar.url}/docs\n"
        f"{prometheus}\n"
        f"  curl '{gateway.url}/metrics/stats'\n"
        f"  curl '{gateway.url}/metrics/history?model_id=bert-base&status=failure&limit=3'\n"
        f"  curl -s {gateway.url}/metrics | grep ^model_invocations_total\n"
        "  # let another model fail, and wait for its alert:\n"
        f"  curl -X PUT {mock.url}/config/gpt-3.5 -H 'Content-Type: application/json' "
        "-d '{\"failure_rate\": 0.5}'\n"
    )


def own_settings(directory: Path) -> dict[str, str]:
    """What differs from `make run`: models that behave badly, and a history of its own."""
    return {
        "MOCK_MODELS": BEHAVIOUR,
        "SIDECAR_DATA_DIR": str(directory),
        "SIDECAR_SOCKET": str(directory / "sidecar.sock"),
        "INVOKER_JOURNAL_DIR": str(directory / "journal"),
    }


def prometheus_config(sidecar: Service, port: int) -> str:
    """The stack's `prometheus.yml` without Alertmanager. JSON is YAML, too."""
    jobs = {"metrics-sidecar": f"{sidecar.reachable_host}:{sidecar.port}", "prometheus": f"127.0.0.1:{port}"}
    return json.dumps(
        {
            "global": {"scrape_interval": "5s", "scrape_timeout": "4s", "evaluation_interval": "15s"},
            "storage": {"exemplars": {"max_exemplars": 100_000}},
            "rule_files": [str(RULES / "*.yaml")],
            "scrape_configs": [
                {"job_name": name, "static_configs": [{"targets": [target]}]} for name, target in jobs.items()
            ],
        }
    )


def prometheus_command(program: str, directory: Path, sidecar: Service, port: int) -> str:
    """How it is started, with its configuration written."""
    config = directory / "prometheus.yml"
    config.write_text(prometheus_config(sidecar, port), encoding="utf-8")
    return shlex.join(
        [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=exemplar-storage,created-timestamp-zero-ingestion",
            "--log.level=warn",
        ]
    )


def free_port() -> int:
    """The first of `PROMETHEUS_PORTS` that nothing listens on; any free one if all are taken."""
    for port in (*PROMETHEUS_PORTS, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise AssertionError("no port is free")


def run(given: Mapping[str, str]) -> int:
    """Run until a signal or the first end; the exit code is as of `deploy.run`."""
    stack = services()
    check_ports(stack)
    mock, sidecar, gateway = stack
    program = shutil.which("prometheus")
    commands = {mock.name: mock.command, sidecar.name: sidecar.command}
    url = None
    with tempfile.TemporaryDirectory(prefix="demo-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        if program is None:
            print(NO_PROMETHEUS, flush=True)
        else:
            port = free_port()
            url = f"http://localhost:{port}"
            commands["prometheus"] = prometheus_command(program, directory, sidecar, port)
        commands[gateway.name] = gateway.command
        commands["callers"] = shlex.join(isolated.python("deploy.demo_traffic"))
        env = environment(stack, {**own_settings(directory), **given})
        return Supervisor(commands, env, lambda: welcome(stack, url)).run()


def _callback(with_parent: bool) -> int:
    if with_parent:
        end_with_parent(signal.SIGTERM)
    return run(os.environ)


cli = click.Command(
    "demo",
    help="Run mock server, sidecar and gateway with callers, and Prometheus if it is installed.",
    params=[click.Option(["--with-parent"], is_flag=True, help="Stop when the parent process dies.")],
    callback=_callback,
)


def main() -> None:
    run_command(cli)


if __name__ == "__main__":
    main()
