"""The mock server's routes for the protocols of OpenAI and Anthropic; what is said is in their own modules."""

import itertools
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
from aiohttp import BodyPartReader, web

from deploy.mock import anthropic, openai, responses
from deploy.mock.config import Fate
from deploy.mock.streams import Event, StreamBehaviour, event, stream

JSON = {"Content-Type": "application/json"}
SOUND = b"ID3" + bytes(1021)
"""What is said aloud is silence."""

Request = TypeVar("Request", bound="Streamable")
Failure = Callable[[str], dict[str, Any]]
Meeting = Callable[[str], Awaitable[tuple[Fate, bool]]]


class Streamable(Protocol):
    """A decoded request."""

    @property
    def model(self) -> str: ...
    @property
    def stream(self) -> bool | None: ...


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, headers=JSON | (headers or {}))


def failure_of(model_id: str) -> str:
    return f"mock failure of model {model_id!r}"


def failed(model_fate: Fate, body: Any) -> web.Response:
    """With the status and the Retry-After that the model fails with."""
    headers = {"Retry-After": model_fate.retry_after} if model_fate.retry_after is not None else None
    return json_response(body, model_fate.failure_status, headers)


class Dialects:
    """The handlers. `meet` waits for a model and says whether it fails; `models` are those that are listed."""

    def __init__(self, meet: Meeting, models: Callable[[], list[str]]) -> None:
        self._meet = meet
        self._models = models
        self._numbers = itertools.count(1)

    def routes(self) -> list[web.RouteDef]:
        said: dict[str, tuple[Any, ...]] = {
            "/v1/chat/completions": (openai.ChatRequest, openai.completion, openai.completion_events, openai.failure),
            "/v1/completions": (openai.CompletionRequest, openai.completion, openai.completion_events, openai.failure),
            "/v1/responses": (
                responses.ResponsesRequest, responses.response, responses.response_events, openai.failure
            ),
            "/v1/messages": (
                anthropic.MessagesRequest, anthropic.message, anthropic.message_events, anthropic.failure
            ),
        }  # fmt: skip
        made: dict[str, Callable[[dict[str, Any]], Any]] = {
            "/v1/embeddings": _embed,
            "/v1/moderations": _moderate,
            "/v1/rerank": _rerank,
            "/v1/images/generations": _draw,
        }
        return [
            *(web.post(path, refusing(partial(self._generate, *how), how[-1])) for path, how in said.items()),
            *(web.post(path, refusing(partial(self._answer, make), openai.failure)) for path, make in made.items()),
            web.post("/v1/audio/speech", refusing(self._speak, openai.failure)),
            web.post("/v1/audio/transcriptions", refusing(self._transcribe, openai.failure)),
            web.post("/v1/audio/translations", refusing(self._transcribe, openai.failure)),
            web.get("/v1/models", self._list),
            web.get("/v1/models/{model:.+}", self._find),
            web.post("/v1/messages/count_tokens", refusing(self._count, anthropic.failure)),
        ]

    async def _generate(
        self,
        kind: type[Request],
        whole: Callable[[Request, int], dict[str, Any]],
        events: Callable[[Request, int, StreamBehaviour], Iterable[Event]],
        failure: Failure,
        request: web.Request,
    ) -> web.StreamResponse:
        """A text, whole or as a stream."""
        wanted = msgspec.json.decode(await request.read(), type=kind)
        fate, fails = await self._meet(wanted.model)
        if fails:
            return failed(fate, failure(failure_of(wanted.model)))
        number = next(self._numbers)
        if not wanted.stream:
            return json_response(_without_usage(whole(wanted, number), fate.stream))
        error = partial(event, failure(failure_of(wanted.model)), "error")
        return await stream(request, events(wanted, number, fate.stream), error, fate.stream)

    async def _answer(self, make: Callable[[Any], Any], request: web.Request) -> web.Response:
        """What is never streamed. `make` has the decoded body."""
        body = msgspec.json.decode(await request.read(), type=dict[str, Any])
        model = _model(body)
        fate, fails = await self._meet(model)
        if fails:
            return failed(fate, openai.failure(failure_of(model)))
        return json_response(_without_usage(make(body), fate.stream))

    async def _speak(self, request: web.Request) -> web.Response:
        body = msgspec.json.decode(await request.read(), type=dict[str, Any])
        fate, fails = await self._meet(_model(body))
        if fails:
            return failed(fate, openai.failure(failure_of(_model(body))))
        return web.Response(body=SOUND, content_type="audio/mpeg")

    async def _transcribe(self, request: web.Request) -> web.Response:
        """A form: the model is in a field of it, before or after the file."""
        model, size = None, 0
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                raise ValueError("the form has a form in it")
            if part.name == "model":
                model = (await part.read(decode=False)).decode()
            elif part.filename is not None:
                while chunk := await part.read_chunk():
                    size += len(chunk)
        if not model:
            raise ValueError("the form has no field 'model'")
        fate, fails = await self._meet(model)
        if fails:
            return failed(fate, openai.failure(failure_of(model)))
        return json_response({"text": f"{size} bytes of sound"})

    async def _count(self, request: web.Request) -> web.Response:
        wanted = msgspec.json.decode(await request.read(), type=anthropic.MessagesRequest)
        return json_response({"input_tokens": wanted.input_tokens})

    async def _list(self, request: web.Request) -> web.Response:
        models = self._models() or ["mock"]
        if "anthropic-version" in request.headers:
            listed = [*map(anthropic.model, models)]
            ends = {"has_more": False, "first_id": models[0], "last_id": models[-1]}
            return json_response({"data": listed, **ends})
        return json_response({"object": "list", "data": [*map(openai.model, models)]})

    async def _find(self, request: web.Request) -> web.Response:
        model = request.match_info["model"]
        dialect: Any = anthropic if "anthropic-version" in request.headers else openai
        if self._models() and model not in self._models():
            return json_response(dialect.failure(f"there is no model {model!r}", "not_found_error"), 404)
        return json_response(dialect.model(model))


def refusing(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], failure: Callable[..., dict[str, Any]]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Answer what is wrong with a request in the dialect's shape: 400, or 413 if it is too long."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPRequestEntityTooLarge as error:
            return json_response(failure(error.reason, "invalid_request_error"), 413)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            return json_response(failure(str(error), "invalid_request_error"), 400)

    return handle


def _model(body: dict[str, Any]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise ValueError(f"model: {model!r} is no text of at least one character")
    return model


def _without_usage(body: dict[str, Any], behaviour: StreamBehaviour) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "usage" or behaviour.usage != "never"}


def _embed(body: dict[str, Any]) -> dict[str, Any]:
    return openai.embeddings(msgspec.convert(body, openai.EmbeddingsRequest))


def _moderate(body: dict[str, Any]) -> dict[str, Any]:
    return openai.moderation(_model(body))


def _rerank(body: dict[str, Any]) -> dict[str, Any]:
    documents = body.get("documents")
    return openai.rerank(_model(body), body.get("query"), documents if isinstance(documents, list) else [])


def _draw(_body: dict[str, Any]) -> dict[str, Any]:
    return openai.image()
