"""Further attempts after a connection that couldn't be made, ever longer apart."""

import asyncio
from collections.abc import Awaitable, Callable

from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential,
    wait_random_exponential,
)

from invoker.upstream.port import Exchange, UpstreamError
from shared.record import ErrorType

HALF_WAIT_S, MAX_HALF_WAIT_S = 0.025, 1.0
"""The first pause is 25 to 50 ms, each is twice as long as the one before, up to 1 to 2 s. One half of it is random, so
that the callers of an upstream that was away don't come back all at once."""

WAIT = wait_exponential(HALF_WAIT_S, MAX_HALF_WAIT_S) + wait_random_exponential(HALF_WAIT_S, MAX_HALF_WAIT_S)


def may_try_again(error: BaseException) -> bool:
    """An invocation isn't idempotent: only if the upstream can't have received it. And what is wrong here is not better
    for trying."""
    return isinstance(error, UpstreamError) and not error.received and error.error_type is ErrorType.CONNECT


async def try_again(
    attempt: Callable[[], Awaitable[Exchange]], failed: UpstreamError, retries: int, remaining_s: float
) -> Exchange:
    """What comes of at most `retries` attempts after one that failed; the last one's error if all fail, or if another
    would begin after the remaining time, or must not."""
    before = [failed]

    async def next_attempt() -> Exchange:
        if before:
            raise before.pop()
        return await attempt()

    retrying = AsyncRetrying(
        sleep=asyncio.sleep,
        stop=stop_after_attempt(1 + retries) | stop_before_delay(remaining_s),
        wait=WAIT,
        retry=retry_if_exception(may_try_again),
        reraise=True,
    )
    return await retrying(next_attempt)
