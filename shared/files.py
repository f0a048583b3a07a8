"""Files that a process may have open, sockets among them: as many as the system lets it."""

import contextlib
import errno
import resource
import sys
from pathlib import Path

OWN_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What this process or its machine has run out of: nobody else is to blame, and it may go better later."""


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
