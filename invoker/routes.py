"""The gateway's HTTP routes, served by aiohttp: all but plain invocations, which `caller` answers."""

from aiohttp import web

from invoker.answering import JSON, Answering, check_content_type
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
        status, answer = await answering.answer(
            request.headers.get("Content-Type"), await _read_body(request), _trace(request)
        )
    except BadRequestError as error:
        status, answer = answering.refusal(error)
    response = web.Response(body=answer, status=status, content_type=JSON)
    if answering.draining:
        response.force_close()
    return response


async def _read_body(request: web.Request) -> bytes:
    check_content_type(request.headers.get("Content-Type"))
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        limit = request.app[ANSWERING].max_body_bytes
        raise BadRequestError(413, "body_too_large", f"The body is larger than {limit} bytes, the limit") from None
    except web.RequestPayloadError as error:
        raise BadRequestError(400, "invalid_body", f"The body can't be read: {error}") from None


def _trace(request: web.Request) -> Trace | None:
    traceparent, tracestate = (
        ",".join(request.headers.getall(name, ())).encode("utf-8", "surrogateescape")
        for name in ("traceparent", "tracestate")
    )
    return parse_trace(traceparent, tracestate)
