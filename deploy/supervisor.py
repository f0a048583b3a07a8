"""Runs several processes in the foreground with their logs side by side, shown by honcho's printer.

honcho's own `Manager` needs a semaphore below `/dev/shm`, which not everybody may write to, prints from inside its
signal handler, and waits for ever for a process that ignores a first SIGTERM; so what starts and stops is written here.
Processes stop in reverse order of start, so that a consumer is there until its producers have drained.
"""

import contextlib
import ctypes
import datetime
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType

from honcho.colour import get_colours
from honcho.printer import Message, Printer

from shared.log_output import LineOutput, Screen
from shared.logs import FLUSH_S

KILL_WAIT_S = 20.0
"""From the request to stop to SIGKILL: more than the gateway's 10 s for calls in flight."""

READ_WAIT_S = 5.0
"""For the last lines of a process that has ended. What it started is killed with it, and holds its output no longer."""

TICK_S = 0.1
MAX_LINES = 1000
"""Read and not shown yet. Beyond, a process waits until its output is read."""

SYSTEM = "system"

_PR_SET_PDEATHSIG = 1


def end_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent dies, even by SIGKILL (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)


@dataclass(eq=False)
class Process:
    """One that was started, and the thread that reads what it says."""

    name: str
    child: "subprocess.Popen[bytes]"
    reader: threading.Thread
    asked: bool = False

    def signal(self, number: signal.Signals) -> None:
        """To it and all that it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, number)

    def ended(self) -> bool:
        """Whether it has, and then nothing of its group is left. Until here its number is nobody else's."""
        if os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            return False
        self.signal(signal.SIGKILL)
        self.child.wait()
        return True


class Supervisor:
    """`run` returns when every process has ended: 0 after a requested stop, else the first one's code."""

    def __init__(self, commands: Mapping[str, str], env: Mapping[str, str], on_tick: Callable[[], str | None]) -> None:
        """`on_tick` may return a text that is to be shown once."""
        self._commands = dict(commands)
        self._env = dict(env)
        self._on_tick = on_tick
        self._output = LineOutput(1, lambda count: self._say(f"{count} lines were dropped: nobody read them"))
        self._screen = Screen(self._output, isatty=sys.stdout.isatty())
        self._printer = Printer(self._screen, width=max(map(len, (SYSTEM, *commands))))
        self._lines: queue.Queue[Message] = queue.Queue(MAX_LINES)
        self._running: list[Process] = []
        self._returncode = 0
        self._requests = 0
        self._stop_began: float | None = None

    @property
    def stopping(self) -> bool:
        return self._stop_began is not None or self._requests > 0

    def run(self) -> int:
        """Start everything, show its output, and stop everything at a signal or at the first end."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, no exit code is kept
        try:
            self._start()
            while self._running:
                self._show(TICK_S)
                for process in [process for process in self._running if process.ended()]:
                    self._stopped(process)
                self._stop_step()
                if text := self._on_tick():
                    print(text, file=self._screen)
        finally:
            self._signal_all(signal.SIGKILL)
            for process in self._running:
                process.child.wait()
            self._output.flush(FLUSH_S)
        return self._returncode

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._requests += 1  # nothing more: a handler that prints could interrupt a print

    def _start(self) -> None:
        """All from this thread, with whose death theirs comes, and before there is another one."""
        colours = get_colours()
        for name, command in self._commands.items():
            child = subprocess.Popen(
                f"exec {command}", shell=True, env=self._env, start_new_session=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                preexec_fn=lambda: end_with_parent(signal.SIGTERM),  # noqa: PLW1509 # there is no other thread yet
            )  # fmt: skip
            reader = threading.Thread(target=self._read, args=(name, next(colours), child), daemon=True)
            self._running.append(Process(name, child, reader))
        self._output.start()
        for process in self._running:
            process.reader.start()

    def _read(self, name: str, colour: str, child: "subprocess.Popen[bytes]") -> None:
        assert child.stdout is not None
        with child.stdout as output:
            for line in output:
                self._lines.put(Message("line", line, now(), name, colour))

    def _show(self, wait_s: float) -> None:
        """Print what was said, after waiting for it that long at most."""
        with contextlib.suppress(queue.Empty):
            self._printer.write(self._lines.get(timeout=wait_s))
            for _ in range(self._lines.qsize()):
                self._printer.write(self._lines.get_nowait())

    def _stopped(self, process: Process) -> None:
        """Its last lines come before the line that says that it has stopped."""
        deadline = time.monotonic() + READ_WAIT_S
        while process.reader.is_alive() and time.monotonic() < deadline:
            self._show(TICK_S)
        self._show(0.0)
        self._running.remove(process)
        if self.stopping:
            self._say(f"{process.name} stopped")
            return
        number = process.child.returncode
        code = number if number >= 0 else 128 - number
        self._say(f"{process.name} ended with exit code {code}; stopping the others")
        self._returncode = code or 1
        self._stop_began = time.monotonic()

    def _stop_step(self) -> None:
        """Ask the last process that still runs to stop; past the deadline or at a second request, all."""
        if not self.stopping:
            return
        if self._stop_began is None:
            self._stop_began = time.monotonic()
            self._say("stopping")
        if time.monotonic() - self._stop_began > KILL_WAIT_S:
            self._signal_all(signal.SIGKILL)
            return
        for process in self._running if self._requests > 1 else self._running[-1:]:
            if not process.asked:
                process.asked = True
                process.signal(signal.SIGTERM)

    def _signal_all(self, number: signal.Signals) -> None:
        for process in self._running:
            process.signal(number)

    def _say(self, text: str) -> None:
        self._printer.write(Message("line", text, now(), SYSTEM, None))


def now() -> datetime.datetime:
    return datetime.datetime.now().astimezone()
