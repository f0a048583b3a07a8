"""Forms that name a model in a field, and what only looks like it."""

import contextlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.protocols.base import BadRequestError
from invoker.protocols.forms import MAX_PART_HEAD_BYTES, MAX_PARTS, boundary_of, decode_form, is_form
from invoker.protocols.large_bodies import LargeBodies

BOUNDARY = b"----WebKitFormBoundary7MA4YWxk"
MODEL = b'Content-Disposition: form-data; name="model"\r\n\r\nwhisper-1'
FILE = b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'


def form(*parts: bytes, boundary: bytes = BOUNDARY, end: bytes = b"--\r\n") -> bytes:
    return b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--" + boundary + end


def field(name: bytes, value: bytes, *lines: bytes) -> bytes:
    head = b"\r\n".join([b"Content-Disposition: form-data; name=%b" % name, *lines])
    return head + b"\r\n\r\n" + value


@pytest.fixture
async def large_bodies() -> AsyncIterator[LargeBodies]:
    made = LargeBodies()
    yield made
    await made.close()


@pytest.mark.parametrize(
    "body",
    [
        form(MODEL),
        form(MODEL, FILE + b"RIFF"),
        form(FILE + b"RIFF" * 2_000_000, field(b"language", b"en"), MODEL),
        form(FILE + b"a --%b b\r\n --%b--\r\n-%b" % (BOUNDARY, BOUNDARY, BOUNDARY), MODEL),
        form(FILE + b'Content-Disposition: form-data; name="model"\r\n\r\nnone', MODEL),
        form(FILE, MODEL),
        form(MODEL, end=b"--"),
        form(MODEL, end=b"-- \r\n\r\n"),
        b"\r\n" + form(MODEL),
        form(MODEL).replace(b"\r\nContent", b" \t\r\nContent"),
        form(field(b"model", b"whisper-1")),
        form(field(b'"model"', b"whisper-1", b"Content-Type: text/plain; charset=UTF-8")),
        form(field(b'"model"', b"whisper-1", b"Content-Transfer-Encoding: 8bit")),
        form(field(b'"models"', b"no"), field(b'"x"; filename="model"', b"no"), MODEL),
        form(field(b'"_charset_"', b"UTF-8"), MODEL),
        form(MODEL).replace(b"Content-Disposition: form-data", b"content-disposition:FORM-DATA"),
        form(field('"file"; filename="a\\"é; name=\'b\'.wav"; filename*=UTF-8\'\'%c3%a9'.encode(), b"x"), MODEL),
    ],
)
async def test_the_model_is_found(large_bodies: LargeBodies, body: bytes) -> None:
    """Wherever it stands, and also by the process that reads large ones."""
    asked = decode_form(body, BOUNDARY)
    assert await large_bodies.decode_form(body, BOUNDARY) == asked
    assert asked.name is not None
    assert (asked.model_id, body[asked.name.begin : asked.name.end]) == ("whisper-1", b"whisper-1")


@pytest.mark.parametrize(
    ("said", "streamed"), [(b"true", True), (b"True", True), (b"false", False), (b"trueish", False)]
)
def test_whether_it_asks_for_a_stream(said: bytes, streamed: bool) -> None:
    """As the clients write it."""
    assert decode_form(form(field(b'"stream"', said), MODEL), BOUNDARY).streamed is streamed


@pytest.mark.parametrize(
    ("body", "reason", "said"),
    [
        (b"", "invalid_body", "doesn't begin with its boundary"),
        (b"preamble\r\n" + form(MODEL), "invalid_body", "doesn't begin with its boundary"),
        (b'{"model": "m"}', "invalid_body", "doesn't begin with its boundary"),
        (form(), "invalid_shape", "has no field 'model'"),
        (form(FILE + b"x"), "invalid_shape", "has no field 'model'"),
        (form(MODEL, MODEL), "repeated_key", "has the field 'model' twice"),
        (form(MODEL, field(b'"mod\\el"', b"other")), "repeated_key", "twice"),
        (form(MODEL, field(b'"%6dodel"', b"other")), "repeated_key", "twice"),
        (form(field(b'"Model"', b"other")), "invalid_shape", "oddly written"),
        (form(field(b'"model"; filename="x"', b"m")), "invalid_shape", "is a file"),
        (form(field(b"\"model\"; filename*=UTF-8''x", b"m")), "invalid_shape", "is a file"),
        (form(field(b'"model"', b"")), "invalid_shape", "'' is no model id"),
        (form(field(b'"model"', b"a\nb")), "invalid_shape", "is no model id"),
        (form(field(b'"model"', b"__overflow__")), "invalid_shape", "reserved"),
        (form(field(b'"model"', b"\xff")), "invalid_body", "'model' is not in UTF-8"),
        (form(field(b'"model"', b"m", b"Content-Type: text/plain; charset=utf-16")), "invalid_body", "not in UTF-8"),
        (form(field(b'"model"', b"bQ==", b"Content-Transfer-Encoding: base64")), "invalid_body", "not in UTF-8"),
        (form(field(b'"_charset_"', b"utf-7"), MODEL), "invalid_body", "'_charset_' is not in UTF-8"),
        (form(MODEL)[:-4], "invalid_body", "a line begins with its boundary and goes on"),
        (form(MODEL)[:-5], "invalid_body", "no last boundary"),
        (b"--%b\r\n%b" % (BOUNDARY, MODEL), "invalid_body", "no last boundary"),
        (form(MODEL) + form(MODEL), "invalid_body", "something follows its last boundary"),
        (form(MODEL, FILE + b"\r\n--%bX" % BOUNDARY), "invalid_body", "a line begins with its boundary and goes on"),
        (form(MODEL, FILE + b"\n--%b\r\n" % BOUNDARY), "invalid_body", "ends without CRLF"),
        (form(MODEL).replace(b"\r\n", b"\n"), "invalid_body", "goes on"),
        (form(b"\r\nx", MODEL), "invalid_body", "a part has no end of its head"),
        (form(b"", MODEL), "invalid_body", "a part has no end of its head"),
        (form(b"Content-Type: x\r\n\r\nx", MODEL), "invalid_body", "no Content-Disposition with a name"),
        (form(b"Content-Disposition: attachment; name=model\r\n\r\nx"), "invalid_body", "no Content-Disposition"),
        (form(b"Content-Disposition: form-data\r\n\r\nx"), "invalid_body", "no Content-Disposition"),
        (form(field(b'"a"; name="model"', b"m")), "invalid_body", "no Content-Disposition with a name"),
        (form(field(b"\"a\"; name*=utf-8''model", b"m")), "invalid_body", "no Content-Disposition with a name"),
        (form(field(b'"a" "model"', b"m")), "invalid_body", "no Content-Disposition with a name"),
        (form(field(b'"a"', b"m", b'Content-Disposition: form-data; name="model"')), "invalid_body", "a field twice"),
        (form(field(b'"a"', b"m", b' ; name="model"')), "invalid_body", "a head that can't be read"),
        (form(field(b'"a"', b"m", b'Content-Disposition : form-data; name="model"')), "invalid_body", "can't be read"),
        (form(field(b'"a\x1f"', b"m"), MODEL), "invalid_body", "a head that can't be read"),
        (form(field(b'"a"', b"m", b"X: 1\nY: 2")), "invalid_body", "a head that can't be read"),
        (form(field(b'"a"', b"m", b"X: " + b"x" * MAX_PART_HEAD_BYTES)), "invalid_body", "no end of its head"),
        (form(*[field(b"a", b"m")] * (MAX_PARTS + 1)), "invalid_body", f"more than {MAX_PARTS} parts"),
    ],
)
async def test_what_is_refused(large_bodies: LargeBodies, body: bytes, reason: str, said: str) -> None:
    """Whatever is wrong, doubtful, or would be read otherwise by others."""
    with pytest.raises(BadRequestError) as caught:
        decode_form(body, BOUNDARY)
    assert (caught.value.status, caught.value.reason) == (400, reason)
    assert said in str(caught.value)
    with pytest.raises(BadRequestError) as caught_there:
        await large_bodies.decode_form(body, BOUNDARY)
    assert (vars(caught_there.value), str(caught_there.value)) == (vars(caught.value), str(caught.value))


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data;BOUNDARY="a b:c" ; charset=utf-8', b"a b:c"),
        ("multipart/form-data; charset=UTF-8; boundary=" + "x" * 70, b"x" * 70),
    ],
)
def test_a_boundary(content_type: str, boundary: bytes) -> None:
    """However it is written."""
    assert is_form(content_type)
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        ('multipart/form-data; boundary=""', 400),
        ("multipart/form-data; boundary=" + "x" * 71, 400),
        ("multipart/form-data; boundary=a; boundary=b", 400),
        ("multipart/form-data; boundary*=utf-8''a", 400),
        ('multipart/form-data; boundary="a', 400),
        ('multipart/form-data; boundary="a\r\n"', 400),
        ('multipart/form-data; boundary="a "', 400),
        ("multipart/form-data; boundary=é", 400),
        ("multipart/form-data; boundary=a, multipart/form-data; boundary=b", 400),
        ("multipart/form-data; boundary=a; charset=utf-16", 415),
    ],
)
def test_what_is_no_boundary(content_type: str, status: int) -> None:
    """Is refused before any of the body is read."""
    with pytest.raises(BadRequestError) as caught:
        boundary_of(content_type)
    assert caught.value.status == status


@given(
    st.binary(), st.lists(st.tuples(st.sampled_from([b"a", b"file"]), st.binary(max_size=50)), max_size=4), st.data()
)
def test_any_bytes_are_read_or_refused(noise: bytes, fields: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    """Of a whole form the model is found, whatever is in its other parts; of one that is cut, never another."""
    parts = [field(name, value) for name, value in fields]
    parts.insert(data.draw(st.integers(0, len(parts))), MODEL)
    body = form(*parts)
    if BOUNDARY not in b"".join(value for _, value in fields):
        assert decode_form(body, BOUNDARY).model_id == "whisper-1"
    cut = body[: data.draw(st.integers(0, len(body)))] + noise
    with contextlib.suppress(BadRequestError):
        assert decode_form(cut, BOUNDARY).model_id == "whisper-1"
