"""What the gateway asks a model's upstream beside calls: no invocation, and no record."""

import asyncio
from collections.abc import Callable

from invoker.http.passing import answer_lines, joined_url
from invoker.protocols.base import JSON, BadRequestError
from invoker.routing.endpoints import Endpoint
from invoker.routing.models import Model
from invoker.upstream.port import Upstream, UpstreamError

Answer = tuple[int, bytes, bytes, bytes]
"""HTTP status, body, header lines and Content-Type."""


async def ask(
    upstream: Upstream, model: Model, target: Callable[[Endpoint], str], lines: bytes, timeout_s: float | None = None
) -> Answer:
    """What one of its endpoints answers to GET, with its own key if it has one: one that is in, or the next if that
    gives no answer. `BadRequestError` if none does in the time of a call."""
    limit_s = model.timeout_s if timeout_s is None else timeout_s
    failure = ""
    try:
        async with asyncio.timeout(limit_s):
            for member in sorted(model.group.members, key=lambda each: not each.health.is_in):
                own = member.endpoint.credentials
                try:
                    return await _ask_one(upstream, member.endpoint, target(member.endpoint), lines)
                except UpstreamError as error:
                    failure = str(error) if own is None else own.left_out_of(str(error))
    except TimeoutError:
        message = f"The upstream gave no whole answer within {limit_s:g} s"
        raise BadRequestError(504, "upstream_failed", message) from None
    raise BadRequestError(502, "upstream_failed", failure)


async def _ask_one(upstream: Upstream, endpoint: Endpoint, target: str, lines: bytes) -> Answer:
    own = endpoint.credentials
    url = joined_url(endpoint.url, target)
    lines = lines if own is None else own.put_into(lines)
    exchange = await upstream.open(url, b"", lines, b"GET", endpoint.address)
    body = await exchange.whole()
    if own is not None and exchange.status >= 400:
        body = own.left_out_of_body(body)
    whole = body if isinstance(body, bytes) else await asyncio.to_thread(b"".join, body)
    media_type = exchange.headers.get(b"content-type", JSON.encode())
    return exchange.status, whole, answer_lines(exchange.headers), media_type
