"""The mock server's routes for KServe's protocol."""

import re
import zlib
from urllib.parse import unquote

from aiohttp import hdrs, web

from deploy.mock import kserve
from deploy.mock.dialects import Meeting, failed, failure_of, json_response, refusing

BEGIN = "/v2/models/"
LENGTH = "Inference-Header-Content-Length"
OCTETS = "application/octet-stream"
_NAMED = re.compile("/v2/models/(?P<model>.+?)(?:/versions/(?P<version>[^/]+))?(?P<what>/infer|/ready)?")
_WINDOWS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


class KServeRoutes:
    """The handlers. `meet` waits for a model and says whether it fails. Whatever model is asked for is there."""

    def __init__(self, meet: Meeting) -> None:
        self._meet = meet

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v2", _server),
            web.get("/v2/health/live", _live),
            web.get("/v2/health/ready", _ready),
            web.get(BEGIN + "{path:.+}", self._describe),
            web.post(BEGIN + "{path:.+}", refusing(self._infer, kserve.failure)),
        ]

    async def _describe(self, request: web.Request) -> web.Response:
        model, _, what = _named(request)
        if what == "/infer":
            return json_response(kserve.failure("inferences are POSTed"), 405)
        return json_response({"name": model, "ready": True} if what == "/ready" else kserve.metadata(model))

    async def _infer(self, request: web.Request) -> web.Response:
        model, version, what = _named(request)
        if what != "/infer":
            return json_response(kserve.failure("only infer is known here"), 404)
        body, length = _unpacked(await request.read(), request), request.headers.get(LENGTH)
        fate, fails = await self._meet(model)
        if fails:
            return failed(fate, kserve.failure(failure_of(model)))
        answer, json_bytes = kserve.infer(model, version, body, None if length is None else int(length))
        headers = {"Content-Type": "application/json"}
        if json_bytes is not None:
            headers = {"Content-Type": OCTETS, LENGTH: str(json_bytes)}
        return _packed(answer, headers, request)


def _named(request: web.Request) -> tuple[str, str | None, str]:
    matched = _NAMED.fullmatch(request.rel_url.raw_path)
    assert matched is not None  # as the route does
    return unquote(matched["model"]), matched["version"], matched["what"] or ""


def _unpacked(body: bytes, request: web.Request) -> bytes:
    coding = request.headers.get(hdrs.CONTENT_ENCODING, "identity")
    if coding == "identity":
        return body
    if coding not in _WINDOWS:
        raise ValueError(f"Content-Encoding {coding!r} is not known here")
    try:
        return zlib.decompress(body, _WINDOWS[coding])
    except zlib.error as error:
        raise ValueError(f"the body is no {coding}: {error}") from None


def _packed(body: bytes, headers: dict[str, str], request: web.Request) -> web.Response:
    """In the first coding that its caller takes, if it takes one."""
    accepted = [part.partition(";")[0].strip() for part in request.headers.get(hdrs.ACCEPT_ENCODING, "").split(",")]
    for coding in accepted:
        if coding in _WINDOWS:
            packing = zlib.compressobj(wbits=_WINDOWS[coding])
            body = packing.compress(body) + packing.flush()
            headers = {**headers, hdrs.CONTENT_ENCODING: coding}
            break
    return web.Response(body=body, headers=headers)


async def _server(_request: web.Request) -> web.Response:
    return json_response(kserve.server_metadata())


async def _live(_request: web.Request) -> web.Response:
    return json_response({"live": True})


async def _ready(_request: web.Request) -> web.Response:
    return json_response({"ready": True})
