"""A model server of several: it remembers what it gets, and it can be told to misbehave (`PUT /manners`)."""

import asyncio
import sys
from pathlib import Path
from typing import Literal

import msgspec
from aiohttp import web

from deploy.mock_server import Handler
from tests.chaos.model_server import serve_remembering
from tests.chaos.models import CALM, SPREAD

REFUSAL = b'{"error":{"message":"out of order"}}'
BEGUN = b'data: {"choices":[{"delta":{"content":"one"}}]}\n\n'
"""Of an answer that doesn't go on."""
SENT_S = 0.02


class Manners(msgspec.Struct, frozen=True):
    """What each request is answered with, or that its connection is reset in the midst of an answer."""

    kind: Literal["well", "refusing", "cutting"] = "well"
    status: int = 500
    retry_after: str = ""


class Misbehaviour:
    """Follows the manners that it was told last."""

    def __init__(self) -> None:
        self._manners = Manners()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "PUT" and request.path == "/manners":
            self._manners = msgspec.json.decode(await request.read(), type=Manners)
            return web.Response()
        if request.method != "POST" or self._manners.kind == "well":
            return await handler(request)
        if self._manners.kind == "cutting":
            return await self._cut(request)
        fields = {"Retry-After": self._manners.retry_after} if self._manners.retry_after else {}
        return web.Response(status=self._manners.status, body=REFUSAL, content_type="application/json", headers=fields)

    async def _cut(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_type = "application/json" if request.path == "/invoke" else "text/event-stream"
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(BEGUN)
        await asyncio.sleep(SENT_S)
        if request.transport is not None:
            request.transport.abort()
        return response


if __name__ == "__main__":
    serve_remembering(int(sys.argv[1]), Path(sys.argv[2]), (CALM, *SPREAD), Misbehaviour().middleware)
