"""Runs several processes in the foreground with their logs side by side, on honcho's parts.

honcho's own `Manager.loop` writes from inside its signal handler, and waits for ever for a process that
ignores a first SIGTERM; so the loop is written here, with the wrapper process and the printer from honcho.
Processes stop in reverse order of start, so that a consumer is there until its producers have drained.
"""

import contextlib
import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from honcho.manager import Manager
from honcho.printer import Printer
from honcho.process import Popen, Process

KILL_WAIT_S = 20.0
"""From the request to stop to SIGKILL: more than the gateway's 10 s for calls in flight."""

_PR_SET_PDEATHSIG = 1


def end_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent dies, even by SIGKILL (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def _popen(command: str, **options: Any) -> subprocess.Popen[bytes]:
    child: subprocess.Popen[bytes] = Popen(command, preexec_fn=lambda: end_with_parent(signal.SIGTERM), **options)

    def end_group() -> None:
        # Whoever of the group outlives its leader holds the pipe open, and its end would go unseen.
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        _signal_group(child.pid, signal.SIGKILL)

    threading.Thread(target=end_group, daemon=True).start()
    return child


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


class _Wrapper(Process):  # type: ignore[misc] # honcho publishes no types
    """honcho's wrapper process: starts the command and hands its lines on; never outlives the supervisor."""

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        end_with_parent(signal.SIGKILL)
        self._child_ctor = _popen
        super().run(events, ignore_signals)


class Supervisor(Manager):  # type: ignore[misc] # honcho publishes no types
    """`run` returns when every process has ended: 0 after a requested stop, else the first one's code."""

    def __init__(self, commands: Mapping[str, str], env: Mapping[str, str], on_tick: Callable[[], None]) -> None:
        super().__init__(Printer(sys.stdout))
        self._process_ctor = _Wrapper
        for name, command in commands.items():
            self.add_process(name, f"exec {command}", env=dict(env))
        self._on_tick = on_tick
        self._requests = 0
        self._stop_began: float | None = None
        self._asked: set[str] = set()

    @property
    def stopping(self) -> bool:
        return self._stop_began is not None or self._requests > 0

    def run(self) -> int:
        """Start everything, show its output, and stop everything at a signal or at the first end."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._start()
        try:
            while not self._all_stopped():
                if not self._take_event():
                    self._notice_lost_wrappers()
                self._stop_step()
                self._on_tick()
        finally:
            self._signal_all(signal.SIGKILL)
            for process in self._processes.values():
                process["process"].join(timeout=1.0)
        return self.returncode or 0

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._requests += 1  # nothing more: a handler that prints could interrupt a print

    def _take_event(self) -> bool:
        try:
            event = self.events.get(timeout=0.1)
        except queue.Empty:
            return False
        if event.type == "line":
            self._printer.write(event)
        elif event.type == "start":
            self._processes[event.name]["pid"] = event.data["pid"]
        else:
            self._stopped(event.name, event.data["returncode"])
        return True

    def _notice_lost_wrappers(self) -> None:
        for name, process in self._processes.items():
            if process.get("returncode") is None and not process["process"].is_alive():
                self._stopped(name, -signal.SIGKILL)

    def _stopped(self, name: str, returncode: int) -> None:
        self._processes[name]["returncode"] = returncode
        code = returncode if returncode >= 0 else 128 - returncode
        if self.stopping:
            self._say(f"{name} stopped")
            return
        self._say(f"{name} ended with exit code {code}; stopping the others")
        self.returncode = code or 1
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
        running = [name for name, process in self._processes.items() if process.get("returncode") is None]
        for name in running if self._requests > 1 else running[-1:]:
            pid = self._processes[name].get("pid")
            if pid is not None and name not in self._asked:
                self._asked.add(name)
                _signal_group(pid, signal.SIGTERM)

    def _signal_all(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            if process.get("pid") is not None and process.get("returncode") is None:
                _signal_group(process["pid"], number)

    def _say(self, text: str) -> None:
        self._system_print(f"{text}\n")
