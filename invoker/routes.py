"""The gateway's HTTP routes, served by aiohttp: all but plain invocations, which `caller` answers."""

import asyncio

from aiohttp import web

from invoker.answering import JSON, Answering, check_content_type
from invoker.connections import STALLED_S
from invoker.forward import forward_to_sidecar
from invoker.health import healthz, readyz
from invoker.operations import DOCUMENT
from invoker.protocols.worklet import BadRequestError
from invoker.trace import Trace, parse_trace
from shared.docs import docs_routes

ANSWERING = web.AppKey("answering", Answering)


def setup_routes(app: web.Application) -> None:
    app.add_routes(
        [
            web.post("/invoke", invoke),
            web.get("/metrics", forward_to_sidecar),
            web.get("/metrics/{path:.*}", forward_to_sidecar),
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            *docs_routes(DOCUMENT),
        ]
    )


async def invoke(request: web.Request) -> web.Response:
    """An invocation by a request that `caller` handed over, because it is not plain."""
    answering = request.app[ANSWERING]
    try:
        reply = await answering.answer(
            request.headers.get("Content-Type"), await _read_body(request, answering.max_body_bytes), _trace(request)
        )
    except TimeoutError:
        reply = answering.timed_out()
    except BadRequestError as error:
        reply = answering.refusal(error)
    status, answer, headers = reply
    response = web.Response(body=answer, status=status, content_type=JSON)
    for line in headers.decode("latin-1").splitlines():
        name, _, value = line.partition(": ")
        response.headers[name] = value
    return response


async def _read_body(request: web.Request, max_body_bytes: int) -> bytes:
    """Unpacked; a `TimeoutError` if it stands still."""
    check_content_type(request.headers.get("Content-Type"))
    body = bytearray()
    try:
        while part := await asyncio.wait_for(request.content.readany(), STALLED_S):
            body += part
            if len(body) > max_body_bytes:
                message = f"The body is larger than {max_body_bytes} bytes, the limit"
                raise BadRequestError(413, "body_too_large", message)
    except web.RequestPayloadError as error:
        raise BadRequestError(400, "invalid_body", f"The body can't be read: {error}") from None
    return bytes(body)


def _trace(request: web.Request) -> Trace | None:
    traceparent, tracestate = (
        ",".join(request.headers.getall(name, ())).encode("utf-8", "surrogateescape")
        for name in ("traceparent", "tracestate")
    )
    return parse_trace(traceparent, tracestate)
