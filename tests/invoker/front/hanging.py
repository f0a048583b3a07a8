"""`python -m tests.invoker.front.hanging`: the gateway, with workers that can be made to hang in several ways."""

import errno
import os
import signal
import time
from types import FrameType

from invoker.__main__ import main
from invoker.process import parent

SPIN, SLEEP = signal.SIGUSR1, signal.SIGUSR2
"""What has a worker's loop stand still: in Python that never ends, or in a system call that doesn't."""


def spin(_number: int, _frame: FrameType | None) -> None:
    while True:
        pass


def sleep(_number: int, _frame: FrameType | None) -> None:
    while True:
        time.sleep(1000)


def fork_later(refusals: int) -> None:
    """As many forks as that are refused: a machine that has no room for another process is hard to have."""
    fork, left = os.fork, [errno.EAGAIN] * refusals

    def refuse() -> int:
        if left:
            raise OSError(left.pop(), "Resource temporarily unavailable")
        return fork()

    os.fork = refuse


if __name__ == "__main__":
    signal.signal(SPIN, spin)
    signal.signal(SLEEP, sleep)
    parent.KILL_AFTER_S = float(os.environ.get("KILL_AFTER_S", parent.KILL_AFTER_S))
    fork_later(int(os.environ.get("FORKS_REFUSED", "0")))
    main()
