"""`docker compose` on the repository's own files, as a user runs it in the root of a clone."""

import json
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests import debian
from tests.stack.engine import Engine, run

ROOT = Path(__file__).parent.parent.parent
NOT_HAD_HERE = {"grafana"}
"""Services whose image is in no Debian package."""


def compose_binary() -> Path:
    """Compose v2, which runs with and without being docker's plugin."""
    return debian.unpack("docker-compose", "trixie") / "usr/libexec/docker/cli-plugins/docker-compose"


@dataclass(frozen=True)
class Stack:
    """The services of the compose file, as the root's `.env` has it, or another `env_file`."""

    engine: Engine
    base_image: str
    env_file: Path | None = None

    def compose(self, *arguments: str) -> str:
        """What it prints."""
        options = [f"--env-file={self.env_file}"] if self.env_file else []
        return run([str(compose_binary()), *options, *arguments], self.engine.environment, ROOT)

    def with_settings(self, settings: str) -> "Stack":
        """The same with these lines at the end of `.env`, where the last one counts."""
        env_file = self.engine.directory / "changed.env"
        env_file.write_text((ROOT / ".env").read_text() + settings)
        return Stack(self.engine, self.base_image, env_file)

    @cached_property
    def images(self) -> dict[str, str]:
        """Image by service, of the services that can run here."""
        services = json.loads(self.compose("config", "--format", "json"))["services"]
        return {name: service["image"] for name, service in services.items() if name not in NOT_HAD_HERE}

    def up(self) -> None:
        """Everything started and healthy."""
        self.compose("up", "--detach", "--wait", "--wait-timeout", "120", *self.images)

    def down(self) -> None:
        """Containers and network are gone, volumes stay."""
        self.compose("down")

    def container(self, service: str) -> dict[str, Any]:
        """What the engine knows of the service's container."""
        return self.engine.inspect(self.compose("ps", "--all", "--quiet", service).strip())

    def exit_code(self, service: str, *command: str) -> int:
        """Of a command run in the service's container."""
        done = subprocess.run(
            [str(compose_binary()), "exec", "--no-TTY", service, *command],
            env=self.engine.environment, cwd=ROOT, capture_output=True, check=False,
        )  # fmt: skip
        return done.returncode
