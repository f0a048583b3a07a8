"""What one worker holds for its callers: bodies of requests that come in pieces or are large, and answers that their
callers have not taken. All together have a bound, beyond which requests with such bodies are refused."""

from invoker.protocols.base import BadRequestError
from shared import logs

SMALL_BYTES = 64 * 1024
"""A body that comes whole and is no larger isn't counted: the bound of calls in flight is one of those, too."""

log = logs.get("held_bodies")


class HeldBodies:
    """`full`: one was refused, and since then never half of the bound was free."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held_bytes = 0
        self.full = False

    def hold(self, count: int) -> bool:
        """Count so many bytes more; whether all are within the bound."""
        self.held_bytes += count
        if self.held_bytes <= self.limit:
            return True
        if not self.full:
            self.full = True
            log.warning("held_bodies.limit_reached", limit=self.limit)
        return False

    def release(self, count: int) -> None:
        self.held_bytes -= count
        if self.full and self.held_bytes <= self.limit // 2:
            self.full = False
            log.warning("held_bodies.below_limit_again", limit=self.limit)

    def refusal(self) -> BadRequestError:
        """For the request whose body is beyond it."""
        message = f"The gateway holds bodies and answers of {self.limit} bytes, the limit"
        return BadRequestError(503, "bodies_limit", message, b"Retry-After: 1\r\n")


class Held:
    """What is held for one request."""

    def __init__(self, bodies: HeldBodies) -> None:
        self._bodies = bodies
        self._bytes = 0

    def add(self, count: int) -> bool:
        """Whether all are within the bound."""
        self._bytes += count
        return self._bodies.hold(count)

    def must_add(self, count: int) -> None:
        """`BadRequestError` if they are not."""
        if not self.add(count):
            raise self._bodies.refusal()

    def release(self) -> None:
        """Idempotent."""
        if self._bytes:
            self._bodies.release(self._bytes)
            self._bytes = 0
