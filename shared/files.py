"""Files that a process may have open: as many as the system lets it, and what it means when there are no more."""

import errno

OWN_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What this process or its machine has run out of: nobody else is to blame, and it may go better later."""
