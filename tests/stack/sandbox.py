"""A network, mounts and processes of its own for a command, with a way out through slirp4netns.

The command is the first process of a PID namespace: when it ends, however it ends, the kernel kills all that it
started (engine, containers), and with the last of them go the mounts, the interfaces and the firewall rules.
Nothing of that is ever in the machine's own tables, and no port is taken on the machine's loopback.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

TOOLS = ("setpriv", "unshare", "slirp4netns", "mount", "ip")
INTERFACE = "tap0"
PREFIX = "invocation-stack-"
NETWORK_TIMEOUT_S = 20.0
CGROUPS_TIMEOUT_S = 5.0
CGROUPS = Path("/sys/fs/cgroup")
ENDS_WITH_US = (
    "setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"
)  # fmt: skip
"""A command and all that it starts. A signal to its parent's death each: from us to unshare, and from there to it."""


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory of our own, gone at the end. What a run that was killed left behind goes with it."""
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = os.open(directory, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        for other in directory.parent.glob(f"{PREFIX}*"):
            remove_abandoned(other)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def remove_abandoned(directory: Path) -> None:
    """Unless somebody holds it. Its processes have died with their owner."""
    with contextlib.suppress(OSError):
        lock = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_cgroups(directory.name)
            shutil.rmtree(directory, ignore_errors=True)
        finally:
            os.close(lock)


def run_in_sandbox(command: Sequence[str], cgroup: str) -> int:
    """The command's exit code. SIGTERM to us ends it, and so does our death. `cgroup`: the name of its engine's."""
    previous = signal.signal(signal.SIGTERM, raise_interrupt)
    process = subprocess.Popen([*ENDS_WITH_US, "--net", *command])
    try:
        with connected(process):
            return process.wait()
    finally:
        process.kill()
        process.wait()
        remove_cgroups(cgroup)
        signal.signal(signal.SIGTERM, previous)


def raise_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def connected(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """The sandbox has a network interface that leads out, by a user-space network stack."""
    exit_read, exit_write = os.pipe()  # it ends when the pipe's other end is closed, by us or by our death
    slirp = subprocess.Popen(
        ["slirp4netns", "--configure", "--disable-host-loopback", f"--exit-fd={exit_read}",
         str(first_process(process)), INTERFACE],
        pass_fds=[exit_read], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(exit_read)
    try:
        yield
    finally:
        os.close(exit_write)
        slirp.wait()


def first_process(unshare: "subprocess.Popen[bytes]") -> int:
    """The PID of the sandbox's first process, as we see it, once it is in its namespaces."""
    deadline = time.monotonic() + NETWORK_TIMEOUT_S
    ours = Path("/proc/self/ns/net").stat().st_ino
    while unshare.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            for pid in Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().split():
                if Path(f"/proc/{pid}/ns/net").stat().st_ino != ours:
                    return int(pid)
        time.sleep(0.01)
    raise RuntimeError("no sandbox: unshare has started nothing")


def enter() -> None:
    """The command's first act: loopback, a /run of its own for the engine's sockets and locks, and the way out."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    deadline = time.monotonic() + NETWORK_TIMEOUT_S
    while INTERFACE not in [name for _, name in socket.if_nameindex()]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"no sandbox: {INTERFACE} did not appear; does slirp4netns work here?")
        time.sleep(0.05)


def remove_cgroups(name: str) -> None:
    """The engine's cgroups are in the machine's own tree. Empty by now, or as soon as the killed are gone."""
    deadline = time.monotonic() + CGROUPS_TIMEOUT_S
    for root in (*CGROUPS.glob(f"*/{name}"), *CGROUPS.glob(name)):
        while root.is_dir() and time.monotonic() < deadline:
            for directory in (*sorted(root.rglob("*/"), reverse=True), root):
                with contextlib.suppress(OSError):
                    directory.rmdir()
            time.sleep(0.02)
