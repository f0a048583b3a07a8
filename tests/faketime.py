"""Clocks that lie, for real processes: each that is given such an environment sees the wall clock that is set."""

from pathlib import Path

from tests.tools import lack

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
"""As Debian's package libfaketime has it."""

RIGHT = "+0"


class FakeTime:
    """A wall clock that can be moved while processes run under it. The monotonic clock is the machine's."""

    def __init__(self, file: Path) -> None:
        """`file` holds what the clock is off by. Skips the test where there is no library for it; in CI it fails."""
        if not LIBRARIES:
            lack("not installed: libfaketime")
        self._file = file
        self.set(RIGHT)

    @property
    def environment(self) -> dict[str, str]:
        """For processes that are to see this clock."""
        return {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, off: str) -> None:
        """So far off the truth (`+60d`, `-1h`), or to a moment (`@2001-01-01 00:00:00`), from now on."""
        written = self._file.with_suffix(".new")
        written.write_text(f"{off}\n", encoding="ascii")
        written.replace(self._file)
