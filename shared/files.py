"""Files: how many a process may have open, who else may read them, and who holds them."""

import contextlib
import errno
import fcntl
import resource
import stat
import sys
import time
from pathlib import Path

OWN_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What this process or its machine has run out of: nobody else is to blame, and it may go better later."""


UMASK = 0o027
"""Of what our processes make: others may read nothing (files 0640, directories 0750), our group may, whatever the
umask is that they were started with."""
LOCK_STEP_S = 0.05


def lock_within(descriptor: int, seconds: float) -> None:
    """Take an exclusive lock on an open file, waiting so long at most: `TimeoutError`."""
    for _ in range(round(seconds / LOCK_STEP_S)):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(LOCK_STEP_S)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TimeoutError(errno.ETIMEDOUT, "another process holds its lock") from None


def take_from_others(path: Path) -> None:
    """An existing file is no longer for everybody. One that isn't there, or isn't ours, stays as it is."""
    with contextlib.suppress(OSError):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & stat.S_IRWXO:
            path.chmod(mode & ~stat.S_IRWXO)


def raise_limit() -> int:
    """Have the soft limit, often no more than 1024, be the hard one; how many files may be open then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # some systems have a lower one than they say
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def count_open() -> int:
    """How many are open now, inherited ones too."""
    with contextlib.suppress(OSError):
        return len([*Path("/proc/self/fd").iterdir()]) - 1  # the directory itself is one
    return 0
