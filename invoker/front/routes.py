"""The gateway's HTTP routes, served by aiohttp: all but plain invocations, which `caller` answers."""

import asyncio

from aiohttp import web

from invoker.call.trace import Trace, parse_trace
from invoker.front.health import healthz, readyz
from invoker.front.held_bodies import SMALL_BYTES, Held
from invoker.front.openapi import DOCUMENT
from invoker.front.request_body import expect_nothing, read_body
from invoker.front.responses import INVOKE_PATH, response_of
from invoker.front.sidecar_proxy import forward_to_sidecar
from invoker.process.worker import WORKER
from invoker.protocols.worklet import BadRequestError
from shared.docs import docs_routes
from shared.errors import has_left
from shared.request_heads import ENDED


def setup_routes(app: web.Application) -> None:
    app.add_routes(
        [
            web.post(INVOKE_PATH, invoke, expect_handler=expect_nothing),
            web.get("/metrics", forward_to_sidecar),
            web.get("/metrics/{path:.*}", forward_to_sidecar),
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            *docs_routes(DOCUMENT),
        ]
    )


async def invoke(request: web.Request) -> web.Response:
    """An invocation by a request that `caller` handed over, because it is not plain."""
    held = Held(request.app[WORKER].answering.bodies)
    try:
        return await _invoke(request, held)
    finally:
        held.release()


async def _invoke(request: web.Request, held: Held) -> web.Response:
    answering = request.app[WORKER].answering
    try:
        body = await read_body(request, answering.max_body_bytes, held)
    except BadRequestError as error:
        reply = answering.refusal(error)
    except (ConnectionError, asyncio.CancelledError):
        if has_left(request):
            answering.rejected[ENDED.reason] += 1
        raise
    else:
        status, answer, headers = await answering.answer(request.headers.get("Content-Type"), body, _trace(request))
        # A large one is joined while others have their turn.
        reply = status, answer if isinstance(answer, bytes) else await asyncio.to_thread(b"".join, answer), headers
    response = response_of(reply)
    if not request.content.is_eof():
        response.force_close()
    if len(reply[1]) > SMALL_BYTES:  # it may wait for its caller
        held.release()
        held.add(len(reply[1]))
        await response.prepare(request)
        await response.write_eof()
    return response


def _trace(request: web.Request) -> Trace | None:
    traceparent, tracestate = (
        ",".join(request.headers.getall(name, ())).encode("utf-8", "surrogateescape")
        for name in ("traceparent", "tracestate")
    )
    return parse_trace(traceparent, tracestate)
