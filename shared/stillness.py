"""Whether a process that ought to give signs of life stands still.

Time without a sign is no proof. A process may wait for a core that others keep busy, or work through a long slice on
one; the machine may have been suspended, or who watches stopped, or all of them together.
"""

from pathlib import Path

MICROSECONDS = 1_000_000
STAT_UNITS_US = 10_000
"""Times in /proc are in hundredths of a second, on all machines."""
STATE, USER_TIME, SYSTEM_TIME = 0, 11, 12
"""Places in /proc/PID/stat after the name, see proc_pid_stat(5)."""
RUNNABLE, TRACED = "R", "t"


class Stillness:
    """How long the main thread of one process has stood still: asked for every `tick_s`, and the time between two
    answers never counts as more; after twice that, who asks has stood still, too, and none of it counts. Of the time in
    which it could run, only that counts in which it did. `now_us` is a monotonic time."""

    def __init__(self, pid: int, now_us: int, tick_s: float) -> None:
        self._stat = Path(f"/proc/{pid}/task/{pid}/stat")
        self._tick_us = round(tick_s * MICROSECONDS)
        self._sign = -1
        self._checked_us = now_us
        self._cpu_us = 0
        self._still_us = 0

    def check(self, sign: int, now_us: int) -> float:
        """Seconds, given the number of its last sign of life."""
        passed_us = now_us - self._checked_us
        passed_us = min(passed_us, self._tick_us) if passed_us <= 2 * self._tick_us else 0
        self._checked_us = now_us
        if sign != self._sign:
            self._sign, self._still_us, self._cpu_us = sign, 0, -1
        else:
            self._still_us += self._counted_us(passed_us)
        return self._still_us / MICROSECONDS

    def _counted_us(self, passed_us: int) -> int:
        try:
            fields = self._stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended; or this system has no /proc
            return passed_us
        before_us, self._cpu_us = self._cpu_us, (int(fields[USER_TIME]) + int(fields[SYSTEM_TIME])) * STAT_UNITS_US
        if fields[STATE] == TRACED:
            return 0  # somebody debugs it
        if fields[STATE] == RUNNABLE:
            return min(passed_us, self._cpu_us - before_us) if before_us >= 0 else 0
        return passed_us
