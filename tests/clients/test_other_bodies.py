"""What isn't JSON, is large, or isn't served: uploads, sound, images; and keys of an upstream's own."""

import base64
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest

from tests.clients.calls import ASKS_USAGE, CHAT, MESSAGE, SAYS, Call, shown
from tests.clients.stack import KEY, OWN_KEY, Stack

SOUND = bytes(range(256)) * 4096 + b"\r\n--boundary\r\nmodel\r\n"
PICTURE = base64.b64encode(SOUND * 6).decode()


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_upload(stack: Stack, asynchronous: bool) -> None:
    """Goes through byte for byte, whatever is in the file; its model is a field of the form."""
    model_id = f"upload-{asynchronous}"
    said: Any = {"model": model_id, "file": ("a.mp3", SOUND), "extra_body": {"zz": "1.0"}}
    if asynchronous:
        async with stack.async_openai() as several:
            text = (await several.audio.transcriptions.create(**said)).text
    else:
        with stack.openai() as client:
            raw = client.audio.transcriptions.with_raw_response.create(**said)
            text = raw.parse().text
    assert text == f"{len(SOUND)} bytes of sound"
    (row,), (form,) = stack.records(model_id, 1), stack.tap.forms(model_id)
    assert (row["success"], row["input_size"]) == (True, len(form.body))
    assert SOUND in form.body
    assert b'name="zz"\r\n\r\n1.0\r\n' in form.body
    if not asynchronous:
        sent = raw.http_request
        assert (form.body, form.headers["content-type"]) == (sent.read(), sent.headers["content-type"])


@pytest.mark.parametrize("streamed", [False, True])
def test_sound_is_answered(stack: Stack, streamed: bool) -> None:
    """As the bytes that it is."""
    model_id = f"speech-{streamed}"
    said: Any = {"model": model_id, "voice": "alloy", "input": "one two"}
    with stack.openai() as client, stack.openai(base_url=f"{stack.mock}/v1") as direct:
        expected = direct.audio.speech.create(**said).content
        if streamed:
            with client.audio.speech.with_streaming_response.create(**said) as response:
                sound = b"".join(response.iter_bytes())
        else:
            sound = client.audio.speech.create(**said).content
    assert sound == expected
    row = stack.record(model_id)
    assert (row["success"], row["output_size"]) == (True, len(sound))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("call", [CHAT, MESSAGE], ids=["chat", "message"])
def test_a_picture_of_many_megabytes(stack: Stack, call: Call, stream: bool) -> None:
    """In either dialect's form, whole or streamed."""
    model_id = f"picture-{call.dialect}-{stream}"
    picture: Any = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
    if call is MESSAGE:
        picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}
    says = [{"role": "user", "content": [picture, {"type": "text", "text": "one two three four"}]}]
    arguments = {**call.arguments, "messages": says}
    large = Call(call.dialect, call.method, call.path, arguments)
    with large.client(stack) as client:
        raw = large.make_raw(client, model_id, stream=stream)
        body = raw.http_response.read()
    assert b"four" in body
    (request,) = stack.tap.requests(model_id)
    assert request.body.replace(ASKS_USAGE, b"") == raw.http_request.content
    row = stack.record(model_id)
    assert (row["success"], row["input_size"]) == (True, len(raw.http_request.content))
    assert row["input_size"] > 8_000_000


NOT_SERVED: dict[str, Callable[[Any], Any]] = {
    "files": lambda client: client.files.list(),
    "a batch": lambda client: client.batches.retrieve("batch_1"),
    "jobs": lambda client: client.fine_tuning.jobs.list(),
    "a stored response": lambda client: client.responses.retrieve("resp_1"),
    "deleting": lambda client: client.responses.delete("resp_1"),
}
CLAUDES_NOT_SERVED: dict[str, Callable[[Any], Any]] = {
    "batches": lambda client: client.messages.batches.list(),
    "a batch": lambda client: client.messages.batches.retrieve("batch_1"),
    "files": lambda client: client.beta.files.list(),
}


@pytest.mark.parametrize("name", NOT_SERVED)
def test_what_openais_client_can_and_the_gateway_cannot(stack: Stack, name: str) -> None:
    """Is not found, in words; and no call."""
    recorded = stack.total()
    with stack.openai() as client, pytest.raises(openai.NotFoundError, match="is not served here"):
        NOT_SERVED[name](client)
    assert stack.total() == recorded


@pytest.mark.parametrize("name", CLAUDES_NOT_SERVED)
def test_what_anthropics_client_can_and_the_gateway_cannot(stack: Stack, name: str) -> None:
    """Likewise."""
    recorded = stack.total()
    with stack.anthropic() as client, pytest.raises(anthropic.NotFoundError, match="is not served here"):
        CLAUDES_NOT_SERVED[name](client)
    assert stack.total() == recorded


@pytest.mark.parametrize("call", [CHAT, MESSAGE], ids=["chat", "message"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_with_a_key_of_its_own(stack: Stack, call: Call, stream: bool) -> None:
    """Is told that one, and not its caller's, in whichever header a client sends it."""
    model_id = f"own-key-{call.dialect}/{stream}"
    with call.client(stack) as client:
        answer = call.make(client, model_id, stream=stream, extra_headers={"x-api-key": KEY, "api-key": KEY})
        assert "four" in ("".join(map(shown, answer)) if stream else shown(answer))
    (request,) = stack.tap.requests(model_id)
    keys = {name.lower(): value for name, value in request.headers.items() if OWN_KEY in value}
    assert keys == ({"authorization": f"Bearer {OWN_KEY}"} if call is CHAT else {"x-api-key": OWN_KEY})
    assert KEY not in str(request.headers)
    assert OWN_KEY not in str(stack.record(model_id))


def test_a_packed_stream(stack: Stack) -> None:
    """Is unpacked on its way, as a client reads it in either case."""
    stack.behave("packed", stream={"coding": "gzip"})
    with stack.openai() as client:
        raw = client.chat.completions.with_raw_response.create(model="packed", messages=SAYS, stream=True)  # type: ignore[arg-type]
        assert "content-encoding" not in raw.http_response.headers
        assert "four" in "".join(map(shown, raw.parse()))
    assert stack.record("packed")["success"] is True
