"""The gateway's HTTP routes: decode, call, encode."""

from aiohttp import web

from invoker.forward import forward_to_sidecar
from invoker.health import healthz, readyz
from invoker.invocation import Invoker, UnknownModelError
from invoker.operations import DOCUMENT
from invoker.protocols.worklet import NULL, BadRequestError, InvokeAnswer, decode_request, encode_answer
from shared.docs import docs_routes

INVOKER = web.AppKey("invoker", Invoker)
MAX_BODY_BYTES = web.AppKey("max_body_bytes", int)
REJECTED: web.AppKey[dict[str, int]] = web.AppKey("rejected", dict)


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
    """One invocation. The answer has the same shape whatever happens."""
    try:
        call = decode_request(await _read_body(request))
        status, answer = await request.app[INVOKER].invoke(call)
    except BadRequestError as error:
        status, answer = error.status, _refusal(request, error.reason, str(error))
    except UnknownModelError as error:
        message = f"Model {error.args[0]!r} is not in the models file, and there is no default upstream"
        status, answer = 404, _refusal(request, "unknown_model", message)
    response = web.Response(body=encode_answer(answer), status=status, content_type="application/json")
    if request.app[INVOKER].draining:
        response.force_close()
    return response


async def _read_body(request: web.Request) -> bytes:
    if not _is_json(request.headers.get("Content-Type")):
        content_type = request.headers.get("Content-Type", "")[:128]
        raise BadRequestError(
            415,
            "unsupported_media_type",
            f"Content-Type {content_type!r} is not supported; send application/json",
        )
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        limit = request.app[MAX_BODY_BYTES]
        raise BadRequestError(413, "body_too_large", f"The body is larger than {limit} bytes, the limit") from None
    except web.RequestPayloadError as error:
        raise BadRequestError(400, "invalid_body", f"The body can't be read: {error}") from None


def _is_json(content_type: str | None) -> bool:
    if content_type is None or content_type == "application/json":
        return True
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def _refusal(request: web.Request, reason: str, message: str) -> InvokeAnswer:
    rejected = request.app[REJECTED]
    rejected[reason] = rejected.get(reason, 0) + 1
    return InvokeAnswer(NULL, False, 0.0, message)
