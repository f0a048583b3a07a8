"""The mock server with a memory: each call that reaches it is in a file before it is worked on.

So what the gateway sent is known even where its caller has no answer. The file is appended to by
`write`, which outlives a `kill -9`.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import uvloop
from aiohttp import web
from aiohttp.typedefs import Middleware

from deploy import mock_server
from deploy.mock.config import Config
from deploy.mock_server import MockSettings, make_app, serve
from shared import logs
from tests.chaos.models import BY_NAME, MODELS, WIDE, ChaosModel

Key = tuple[str, int]
"""Model id and input size: what tells calls apart."""

Seen = tuple[int, Key]


class Asked(msgspec.Struct):
    """Of a request of any protocol, what tells it from all others: the model, and a text that is as long as the call's
    number."""

    worklet_input: dict[str, str] = {}
    model: str = ""
    user: str = ""
    metadata: dict[str, str] = {}

    @property
    def key(self) -> Key:
        name = self.model or self.worklet_input["model_id"]
        number = len(self.user or self.metadata.get("user_id", "") or self.worklet_input.get("input", ""))
        model = BY_NAME.get(name)
        return name, number if model is None else model.input_size(number)


_decode = msgspec.json.Decoder(Asked).decode


def serve_remembering(
    port: int, log_file: Path, models: Iterable[ChaosModel] = (*MODELS, WIDE), *others: Middleware
) -> None:
    """Serve until a stop signal, on a port that is known. `others`: what requests meet once they are remembered."""
    descriptor = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    os.write(descriptor, b"\n")

    @web.middleware
    async def remember(request: web.Request, handler: mock_server.Handler) -> web.StreamResponse:
        if request.method == "POST":
            os.write(descriptor, msgspec.json.encode(_decode(await request.read()).key) + b"\n")
        return await handler(request)

    def make_remembering_app(config: Config) -> web.Application:
        app = make_app(config)
        app.middlewares.extend((remember, *others))
        return app

    mock_server.make_app = make_remembering_app
    logs.configure("json", "info")
    behaviours = {model.name: model.behaviour for model in models}
    uvloop.run(serve(MockSettings(port=port), Config("fixed:5ms", models=behaviours)))


def calls_seen(log_file: Path) -> Iterator[Seen]:
    """The calls that reached the server, in order, each with the number of the process that saw it."""
    process = 0
    for line in log_file.read_bytes().splitlines():
        if line:
            yield process, msgspec.json.decode(line, type=Key)
        else:
            process += 1


if __name__ == "__main__":
    serve_remembering(int(sys.argv[1]), Path(sys.argv[2]))
