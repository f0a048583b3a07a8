"""Where an export goes: to a file that gets its name when it is whole, or to what can only be written to."""

import contextlib
import errno
import os
import secrets
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

STDOUT = Path("-")
ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def created(output: Path) -> Iterator[int]:
    """A descriptor to write to; `OSError` if there can't be one. Devices and pipes are never replaced by a file, nor
    are symbolic links."""
    if output == STDOUT:
        yield _stdout()
    elif output.exists() and not output.is_file():
        with output.open("wb", buffering=0) as file:
            yield file.fileno()
    else:
        with _cleaned_up(), _replaced(Path(os.path.realpath(output))) as descriptor:
            yield descriptor


def write_all(descriptor: int, data: bytes) -> None:
    """Without a buffer, so that nothing is left to write, and to fail, at the end of the process."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _stdout() -> int:
    if sys.__stdout__ is None:  # closed before the process began: the number may be any file's
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return sys.__stdout__.fileno()


@contextlib.contextmanager
def _replaced(target: Path) -> Iterator[int]:
    """Until the file is whole there is what was there before, whose permissions it gets. Of several that are written at
    one time, each is whole, and the last one stays."""
    partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb", buffering=0) as file:
            if target.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            yield file.fileno()
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _cleaned_up() -> Iterator[None]:
    """What would end the process at once raises `SystemExit` meanwhile."""
    before = {number: signal.signal(number, _end) for number in ENDING if signal.getsignal(number) is signal.SIG_DFL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
