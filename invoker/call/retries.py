"""Further attempts after a connection that couldn't be made, ever longer apart."""

import asyncio
from collections.abc import Awaitable, Callable

from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential,
    wait_random_exponential,
)

from invoker.upstream.port import Answer, ConnectError

HALF_WAIT_S, MAX_HALF_WAIT_S = 0.025, 1.0
"""The first pause is 25 to 50 ms, each is twice as long as the one before, up to 1 to 2 s. One half of it is random, so
that the callers of an upstream that was away don't come back all at once."""

WAIT = wait_exponential(HALF_WAIT_S, MAX_HALF_WAIT_S) + wait_random_exponential(HALF_WAIT_S, MAX_HALF_WAIT_S)


async def try_again(
    attempt: Callable[[], Awaitable[Answer]], failed: ConnectError, retries: int, remaining_s: float
) -> Answer:
    """What comes of at most `retries` attempts after one that failed; the last one's `ConnectError` if all fail, or if
    another would begin after the remaining time."""
    before = [failed]

    async def next_attempt() -> Answer:
        if before:
            raise before.pop()
        return await attempt()

    retrying = AsyncRetrying(
        sleep=asyncio.sleep,
        stop=stop_after_attempt(1 + retries) | stop_before_delay(remaining_s),
        wait=WAIT,
        retry=retry_if_exception_type(ConnectError),
        reraise=True,
    )
    return await retrying(next_attempt)
