"""A newcomer's machine: a fresh Debian of any release with what the README asks for, and a user without privileges.

It is a folder with a root file system, entered by `chroot`, in a network, with mounts and processes of its own: see
`tests.stack.sandbox`. Wheels come by this machine's own way to a package index, as its pip is told.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests import debian
from tests.stack import sandbox, standins

ROOT = Path(__file__).parent.parent.parent
CACHE = debian.CACHE.parent / "newcomer"
TOOLS = ("chroot", "git", "mmdebstrap", "tar")
PACKAGES = "ca-certificates,git,make,python3,python3-venv"
USER = "newcomer"
USER_ID = 1000
HOME = f"/home/{USER}"
PATH = "/usr/local/bin:/usr/bin:/bin"
NAMESERVER = "10.0.2.3"
"""slirp4netns' own, which asks this machine's, wherever that is."""


@dataclass(frozen=True)
class Machine:
    """Its root file system, and commands run there by its user in the clone."""

    root: Path

    def mount(self) -> None:
        """From inside of the sandbox. Shared memory can't be written, as in some containers."""
        for command in (
            ("--rbind", "/dev", self.root / "dev"),
            ("-t", "proc", "proc", self.root / "proc"),
            ("-t", "tmpfs", "-o", "mode=0755", "tmpfs", self.root / "dev/shm"),
        ):
            subprocess.run(["mount", *command], check=True)

    def command(self, *command: str) -> list[str]:
        """To be run from inside of the sandbox; nothing of our environment gets there."""
        return [
            "chroot", f"--userspec={USER_ID}:{USER_ID}", "--groups=", str(self.root),
            "env", "-i", f"HOME={HOME}", f"PATH={PATH}", "sh", "-c", 'cd ~/src && exec "$@"', "sh", *command,
        ]  # fmt: skip


def prepare(directory: Path, suite: str) -> Machine:
    """A new machine in that directory, with a clone of this checkout's last commit."""
    machine = Machine(directory / "root")
    machine.root.mkdir()
    run("tar", "-xf", str(archive(suite)), "-C", str(machine.root))
    etc = machine.root / "etc"
    (etc / "resolv.conf").write_text(f"nameserver {NAMESERVER}\n")
    (etc / "hosts").write_text("127.0.0.1 localhost\n::1 localhost ip6-localhost\n")  # as the installer writes it
    (etc / "pip.conf").write_text(standins.pip_configuration())
    if standins.CA_BUNDLE.exists():
        shutil.copy(standins.CA_BUNDLE, machine.root / standins.CA_BUNDLE.relative_to("/"))
    home = machine.root / HOME.lstrip("/")
    run("git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(home / "src"))
    for path in (home, *home.rglob("*")):
        os.chown(path, USER_ID, USER_ID, follow_symlinks=False)
    return machine


def archive(suite: str) -> Path:
    """The release as it is when new, as a tar. Made once per checkout: half a minute."""
    path = CACHE / f"{suite}.tar"
    CACHE.mkdir(parents=True, exist_ok=True)
    with debian.locked(path.with_suffix(".lock")):
        if not path.exists():
            half = path.with_suffix(".half.tar")
            user = f'chroot "$1" useradd --create-home --uid {USER_ID} --user-group --shell /bin/bash {USER}'
            run(
                *sandbox.ENDS_WITH_US, "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase",
                f"--include={PACKAGES}", f"--customize-hook={user}", suite, str(half), debian.mirror(),
            )  # fmt: skip
            half.rename(path)
    return path


def run(*command: str) -> None:
    subprocess.run(command, check=True)
