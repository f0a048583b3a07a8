"""Where an export goes: a file is whole or isn't there, and nothing else is replaced by one."""

import os
import signal
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from metrics_sidecar.files.output import created, write_all


def write(output: Path, *parts: bytes) -> None:
    with created(output) as descriptor:
        for part in parts:
            write_all(descriptor, part)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_there_once_it_is_whole(tmp_path: Path) -> None:
    """Until then there is what was there before."""
    path = tmp_path / "x"
    path.write_bytes(b"before")
    with created(path) as descriptor:
        write_all(descriptor, b"after")
        assert path.read_bytes() == b"before"
    assert (path.read_bytes(), names(tmp_path)) == (b"after", ["x"])


def test_its_permissions_stay(tmp_path: Path) -> None:
    """A new file gets those that any new file gets."""
    (tmp_path / "old").touch(0o600)
    (tmp_path / "plain").write_bytes(b"")
    for name in ("old", "new"):
        write(tmp_path / name, b"x")
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)}
    assert modes["old"] == 0o600
    assert modes["new"] == modes["plain"]


def test_of_two_at_one_time_each_is_whole(tmp_path: Path) -> None:
    """The one that ends last stays."""
    path = tmp_path / "x"
    with created(path) as first:
        write_all(first, b"first" * 10)
        with created(path) as second:
            write_all(second, b"second" * 10)
        assert path.read_bytes() == b"second" * 10
        write_all(first, b"first" * 10)
    assert (path.read_bytes(), names(tmp_path)) == (b"first" * 20, ["x"])


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_stays_one(tmp_path: Path, exists: bool) -> None:
    """The file that it names is written."""
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "x", tmp_path / "link"
    if exists:
        target.write_bytes(b"before")
    link.symlink_to("there/x")
    write(link, b"after")
    assert (link.is_symlink(), target.read_bytes()) == (True, b"after")
    assert (names(tmp_path), names(tmp_path / "there")) == (["link", "there"], ["x"])


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    """And is one afterwards."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    write(path, b"a", b"b" * 200_000)
    reader.join()
    assert (read, path.is_fifo(), names(tmp_path)) == ([b"a" + b"b" * 200_000], True, ["pipe"])


def test_a_device_is_written_to(tmp_path: Path) -> None:
    """As root, who could replace it."""
    path = tmp_path / "null"
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        path.open("wb").close()
    except PermissionError:
        pytest.skip("devices can't be made here")
    write(path, b"x")
    assert (path.is_char_device(), names(tmp_path)) == (True, ["null"])


@pytest.mark.parametrize(
    ("number", "usual"),
    [
        (signal.SIGTERM, signal.SIG_DFL),
        (signal.SIGHUP, signal.SIG_DFL),
        (signal.SIGINT, signal.default_int_handler),
    ],
)
def test_a_signal_leaves_nothing_behind(tmp_path: Path, number: signal.Signals, usual: Any) -> None:
    """The exit code is what a shell says of it, and what the signal does is afterwards as it was."""
    before = signal.signal(number, usual)  # whoever runs this may ignore it
    try:
        with pytest.raises((SystemExit, KeyboardInterrupt)) as ended, created(tmp_path / "x"):
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) is usual
    finally:
        signal.signal(number, before)
    if isinstance(ended.value, SystemExit):
        assert ended.value.code == 128 + number
    assert names(tmp_path) == []
