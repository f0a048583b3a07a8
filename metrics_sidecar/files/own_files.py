"""What an export must not be written to: the files of a store, of this or another one, by whatever name they go."""

import contextlib
import os
import stat
import sys
from pathlib import Path

from metrics_sidecar.data_dir import OWN_FILES
from metrics_sidecar.files.output import STDOUT
from shared.settings import StartupError

MAGIC = {
    b"SQLite format 3\0": "a database",
    b"\x37\x7f\x06\x82": "a database's log",
    b"\x37\x7f\x06\x83": "a database's log",
    b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7": "a database's journal",
    b"INVJRNL1": "a gateway's journal",
}
"""How files begin that no export is."""
GATEWAY_NAMES = ("*.segment", "*.spare", "lock")
KINDS = {stat.S_ISSOCK: "a socket", stat.S_ISBLK: "a disk", stat.S_ISDIR: "a directory"}
LONGEST_MAGIC = max(map(len, MAGIC))


def refuse_own(output: Path, data_dir: Path) -> None:
    """`StartupError` if the output is, or would become, something that a store or a gateway works with."""
    target = _stdout() if output == STDOUT else Path(os.path.realpath(output))
    if target is None:
        return
    if what := _is_own(target, data_dir) or _looks_own(target):
        raise StartupError(f"{output} can't be an export: it is {what}; it is left as it is")


def _stdout() -> Path | None:
    """The file that it leads to, if it is one."""
    with contextlib.suppress(OSError, AttributeError, ValueError):
        descriptor = sys.__stdout__.fileno()  # type: ignore[union-attr] # there may be none
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return Path(f"/proc/self/fd/{descriptor}")
    return None


def _is_own(target: Path, data_dir: Path) -> str | None:
    """By its name, whether it is there or not, or by being the same file under another one."""
    with contextlib.suppress(OSError):
        if target.name in OWN_FILES and target.parent.samefile(data_dir):
            return "the store's own"
    for name in OWN_FILES:
        with contextlib.suppress(OSError):
            if target.samefile(data_dir / name):
                return "the store's own"
    return None


def _looks_own(target: Path) -> str | None:
    """By its kind, or by how it begins."""
    try:
        mode = target.stat().st_mode
    except OSError:
        return None
    for is_kind, kind in KINDS.items():
        if is_kind(mode):
            return kind
    if not stat.S_ISREG(mode):
        return None
    if any(target.match(name) for name in GATEWAY_NAMES):
        return "a gateway's"
    with contextlib.suppress(OSError), target.open("rb") as file:
        begin = file.read(LONGEST_MAGIC)
        return next((what for magic, what in MAGIC.items() if begin.startswith(magic)), None)
    return None
