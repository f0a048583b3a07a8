"""One worker: what both of its HTTP servers are given, and made before either of them serves."""

import dataclasses
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from invoker.call.invocation import Invoker
from invoker.front.answering import Answering
from invoker.front.listener import Connections
from invoker.routing.states import UpstreamsAnswer
from invoker.upstream.port import Upstream


@dataclasses.dataclass(frozen=True, slots=True)
class Worker:
    """`reasons`: why not all is well, in words for `/readyz`. `upstream` is that of its invoker;
    `upstreams`: what all workers know of endpoints."""

    invoker: Invoker
    answering: Answering
    connections: Connections
    reasons: Callable[[], Sequence[str]]
    sidecar_url: str
    upstream: Upstream
    upstreams: Callable[[], Awaitable[UpstreamsAnswer]]
    cors_origins: str = ""


WORKER = web.AppKey("worker", Worker)
"""Where aiohttp's handlers find theirs."""
