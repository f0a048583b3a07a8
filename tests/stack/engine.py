"""A Docker engine of the test's own: data, sockets and state below one directory."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOOLS = ("dockerd", "containerd", "runc", "docker", "iptables")
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Engine:
    """A running dockerd, and how to talk to it."""

    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        """For `docker` and `docker compose`: nothing of the user's own configuration."""
        return {"PATH": PATH, "HOME": str(self.directory), "DOCKER_HOST": f"unix://{self.directory}/docker.sock"}

    def docker(self, *arguments: str) -> str:
        """What the command prints; RuntimeError with what it complains about."""
        return run(["docker", *arguments], self.environment)

    def inspect(self, container: str) -> dict[str, Any]:
        (found,) = json.loads(self.docker("inspect", container))
        return dict(found)


def run(command: Sequence[str], environment: dict[str, str], cwd: Path | None = None) -> str:
    """Its standard output; RuntimeError with all that it said if it fails."""
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{said}")
    return done.stdout


@contextlib.contextmanager
def running_engine(directory: Path, cgroup: str) -> Iterator[Engine]:
    """Started and answering; stopped in order at the end, which also unmounts what it mounted."""
    engine = Engine(directory)
    configuration = directory / "daemon.json"
    configuration.write_text(json.dumps(settings(directory, cgroup)))
    with (directory / "dockerd.log").open("wb") as log:
        daemon = subprocess.Popen(
            ["dockerd", f"--config-file={configuration}"],
            env={**os.environ, "PATH": PATH}, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(engine, daemon)
        yield engine
    finally:
        daemon.terminate()
        try:
            daemon.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            daemon.kill()


def settings(directory: Path, cgroup: str) -> dict[str, Any]:
    return {
        "hosts": [f"unix://{directory}/docker.sock"],
        "data-root": str(directory / "data"),
        "exec-root": str(directory / "exec"),
        "pidfile": str(directory / "docker.pid"),
        "storage-driver": "overlay2",
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "cgroup-parent": f"/{cgroup}",
        "features": {"buildkit": True},
    }


def wait_for(engine: Engine, daemon: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            engine.docker("version")
        except RuntimeError as error:
            if daemon.poll() is not None or time.monotonic() > deadline:
                log = (engine.directory / "dockerd.log").read_text()[-4000:]
                raise RuntimeError(f"dockerd does not answer: {error}\n{log}") from None
            time.sleep(0.2)
        else:
            return
