"""How a call is made in each protocol, and how its answer is read."""

import time
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp
import msgspec

from deploy.load_answers import Reading, Seen, verdict_of

Body = Callable[[str, int, bool], dict[str, Any]]
WORD = "word"


class Speaker(Protocol):
    """Makes calls of one protocol. `tracked`: each call has an id of its own, by which its record is found."""

    @property
    def tracked(self) -> bool: ...

    def path(self, model: str) -> str:
        """Where they are POSTed."""
        ...

    def body(self, model: str, size: int) -> bytes:
        """A request of so many numbers, or words."""
        ...

    async def read(self, answer: aiohttp.ClientResponse, seen: Seen) -> None:
        """All of an answer. `aiohttp.ClientError` if it breaks off."""
        ...


class Worklet:
    """`POST /invoke`. Implements `Speaker`."""

    tracked = False

    def path(self, _model: str) -> str:
        return "/invoke"

    def body(self, model: str, size: int) -> bytes:
        """Numbers from 1 on."""
        return msgspec.json.encode({"worklet_input": {"model_id": model, "input": list(range(1, size + 1))}})

    async def read(self, answer: aiohttp.ClientResponse, seen: Seen) -> None:
        content = await answer.read()
        seen.status, seen.verdict = str(answer.status), verdict_of(answer.status, content)


class Dialect:
    """A dialect that passes through, whole or streamed. Implements `Speaker`."""

    tracked = True

    def __init__(self, path: str, make_body: Body, *, stream: bool) -> None:
        self._path = path
        self._make_body = make_body
        self._stream = stream

    def path(self, _model: str) -> str:
        return self._path

    def body(self, model: str, size: int) -> bytes:
        return msgspec.json.encode(self._make_body(model, size, self._stream))

    async def read(self, answer: aiohttp.ClientResponse, seen: Seen) -> None:
        """An error that is a stream's last event is a failure, however the connection ends behind it."""
        if not await _succeeded(answer, seen):
            return
        reading = Reading(seen)
        if not answer.content_type.startswith("text/event-stream"):
            reading.whole(await answer.read())
            reading.end()
            return
        try:
            async for data in answer.content.iter_any():
                reading.feed(data, time.perf_counter())
        except aiohttp.ClientError:
            if not reading.failed:
                raise
        reading.end()


class KServe:
    """Inferences with one tensor of floats, as JSON. Implements `Speaker`."""

    tracked = True

    def path(self, model: str) -> str:
        return f"/v2/models/{quote(model, safe='')}/infer"

    def body(self, _model: str, size: int) -> bytes:
        """Numbers from 1 on."""
        data = [float(number) for number in range(1, size + 1)]
        tensor = {"name": "INPUT0", "shape": [1, size], "datatype": "FP32", "data": data}
        return msgspec.json.encode({"inputs": [tensor]})

    async def read(self, answer: aiohttp.ClientResponse, seen: Seen) -> None:
        if await _succeeded(answer, seen):
            await answer.read()
            seen.verdict = "successful"


async def _succeeded(answer: aiohttp.ClientResponse, seen: Seen) -> bool:
    """Whether its status is 2xx, and more is to be read. Whether a 4xx is a refusal, which is no call, or the
    upstream's answer, is told by the record alone."""
    seen.status = str(answer.status)
    if 200 <= answer.status < 300:
        return True
    await answer.read()
    seen.verdict = "unknown" if answer.status < 500 and answer.status != 429 else "failed"
    return False


def chat(model: str, size: int, stream: bool) -> dict[str, Any]:
    """OpenAI's chat completion; usage is asked for, so that it can be compared."""
    asked = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    return {"model": model, "messages": [_message(size)], **asked}


def messages(model: str, size: int, stream: bool) -> dict[str, Any]:
    """Anthropic's message."""
    return {"model": model, "max_tokens": max(size, 1), "messages": [_message(size)], "stream": stream}


def _message(size: int) -> dict[str, Any]:
    return {"role": "user", "content": " ".join([WORD] * size)}


def speaker(protocol: str, *, stream: bool) -> Speaker:
    """Of that protocol, by its name in the models file."""
    match protocol:
        case "openai":
            return Dialect("/v1/chat/completions", chat, stream=stream)
        case "anthropic":
            return Dialect("/v1/messages", messages, stream=stream)
        case "kserve":
            return KServe()
        case _:
            return Worklet()
