"""Sound that goes through as it comes: no event of it says anything, and its end is that of the body."""

from collections.abc import Mapping

from invoker.protocols.base import Usage

SOUND = b"audio/"


def is_sound(fields: Mapping[bytes, bytes]) -> bool:
    """Whether an answer with these headers is, and of no stated length: so it is still being made."""
    return b"content-length" not in fields and fields.get(b"content-type", b"").lower().startswith(SOUND)


class SoundReader:
    """Implements `StreamReader`."""

    of_events = False
    held = b""
    ended = False
    usage: Usage | None = None

    def __init__(self) -> None:
        self.size = 0
        self.complete = False
        self.first_output_us: int | None = None
        self.last_output_us: int | None = None

    def feed(self, chunk: bytes, now_us: int) -> bytes:
        self.size += len(chunk)
        self.last_output_us = now_us
        if self.first_output_us is None:
            self.first_output_us = now_us
        return chunk

    def end(self, _now_us: int) -> None:
        self.complete = True

    def check(self) -> None:
        """Nothing in it says that it failed."""
