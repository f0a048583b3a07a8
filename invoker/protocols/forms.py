"""Forms (`multipart/form-data`, RFC 7578) that name a model in a field. Only that field is read, and what else it might
be taken for by another parser is refused: another model might run than the record says."""

import re
from collections.abc import Iterator
from urllib.parse import unquote

import msgspec

from invoker.protocols.asked import Asked
from invoker.protocols.base import BadRequestError, Name
from shared.record import check_model_id

FORM = "multipart/form-data"
FIELD = "model"
MAX_PARTS = 1000
MAX_PART_HEAD_BYTES = 16 * 1024

_PARAMETER = re.compile(r'[ \t]*;[ \t]*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=("(?:[^"\\]|\\.)*"|[^;"\s]*)')
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_END_OF_DELIMITER = re.compile(rb"[ \t]*\r\n")
_ENCODINGS = frozenset(("7bit", "8bit", "binary"))
_CHARSETS = frozenset(("utf-8", "utf8", "us-ascii", "ascii"))


class _Part(msgspec.Struct, frozen=True):
    """`name` and `filename` as they stand there; `head`: its fields by their names in lower case."""

    name: str
    filename: str | None
    head: dict[str, str]
    content: tuple[int, int]


def is_form(content_type: str | None) -> bool:
    return content_type is not None and content_type.partition(";")[0].strip().lower() == FORM


def boundary_of(content_type: str) -> bytes:
    """What its parts are told apart by. `BadRequestError`."""
    parameters = _parameters(content_type.partition(";")[0], content_type)
    if parameters is None or _BOUNDARY.fullmatch(parameters.get("boundary", "")) is None:
        message = f"Content-Type {content_type[:128]!r} has no boundary, or none of 1 to 70 characters as in RFC 2046"
        raise BadRequestError(400, "invalid_body", message)
    if parameters.get("charset", "utf-8").lower() not in _CHARSETS:
        message = f"Content-Type {content_type[:128]!r} is not supported; a form is UTF-8"
        raise BadRequestError(415, "unsupported_media_type", message)
    return parameters["boundary"].encode()


def decode_form(body: bytes, boundary: bytes) -> Asked:
    """What a form asks for. `BadRequestError` for what is none."""
    model: str | None = None
    name: Name | None = None
    streamed = False
    for part in _parts(body, boundary):
        if _may_mean(part.name, "_charset_"):
            _text(body, part, _CHARSETS)
        if part.name == "stream":
            streamed = body[slice(*part.content)][:8].lower() == b"true"
        if not _may_mean(part.name, FIELD):
            continue
        if model is not None:
            raise BadRequestError(400, "repeated_key", f"The form has the field {FIELD!r} twice")
        if part.name != FIELD or part.filename is not None:
            raise BadRequestError(400, "invalid_shape", f"The form's field {FIELD!r} is a file, or oddly written")
        model, name = _text(body, part), Name(*part.content, quoted=False)
    if model is None:
        raise BadRequestError(400, "invalid_shape", f"The form has no field {FIELD!r}, which says where it goes")
    if problem := check_model_id(model):
        raise BadRequestError(400, "invalid_shape", f"The form's field {FIELD!r}: {problem}")
    return Asked(model, streamed, name=name)


def _parts(body: bytes, boundary: bytes) -> Iterator[_Part]:
    """In their order; whole, or it is no form."""
    begin: int | None = None
    closed = False
    for number, (place, after) in enumerate(_delimiters(body, boundary)):
        if number > MAX_PARTS:
            raise _broken(f"it has more than {MAX_PARTS} parts")
        if closed:
            raise _broken("something follows its last boundary")
        if begin is not None:
            yield _part(body, begin, place)
        if body.startswith(b"--", after):
            closed = True
            continue
        if (end := _END_OF_DELIMITER.match(body, after)) is None:
            raise _broken(f"a line begins with its boundary and goes on (byte {after})")
        begin = end.end()
    if not closed:
        raise _broken("it has no last boundary")


def _delimiters(body: bytes, boundary: bytes) -> Iterator[tuple[int, int]]:
    """Where each line that begins with the boundary does, with the line end before it, and where the boundary ends."""
    line = b"\n--" + boundary
    start = 0 if body.startswith(line[1:]) else 2 if body.startswith(b"\r" + line) else -1
    if start < 0:
        raise _broken("it doesn't begin with its boundary")
    place = start + len(line) - 1
    yield 0, place
    while (found := body.find(line, place)) >= 0:
        if body[found - 1] != ord("\r"):
            raise _broken(f"a line before its boundary ends without CRLF (byte {found})")
        place = found + len(line)
        yield found - 1, place


def _part(body: bytes, begin: int, end: int) -> _Part:
    head_end = body.find(b"\r\n\r\n", begin, min(end, begin + MAX_PART_HEAD_BYTES) + 4)
    if head_end < 0 or head_end > end:
        raise _broken(f"a part has no end of its head, or one of over {MAX_PART_HEAD_BYTES} bytes (byte {begin})")
    head: dict[str, str] = {}
    for line in body[begin:head_end].decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or name in head or name != name.strip() or _CONTROL.search(line):
            raise _broken(f"a part has a head that can't be read, or says a field twice (byte {begin})")
        head[name] = value.strip(" \t")
    disposition = head.get("content-disposition", "")
    kind = disposition.partition(";")[0]
    parameters = _parameters(kind, disposition)
    if kind.strip().lower() != "form-data" or parameters is None or "name" not in parameters:
        raise _broken(f"a part has no Content-Disposition with a name (byte {begin})")
    return _Part(
        parameters["name"],
        parameters.get("filename", parameters.get("filename*")),
        head,
        (head_end + 4, max(head_end + 4, end)),
    )


def _parameters(kind: str, value: str) -> dict[str, str] | None:
    """Those that follow, by their names in lower case; None if they can't be read, or one stands there twice, in
    whatever form."""
    place, found = len(kind), dict[str, str]()
    while (match := _PARAMETER.match(value, place)) is not None:
        name, said = match[1].lower(), match[2]
        if name in found or (name.endswith("*") and name != "filename*"):
            return None
        found[name] = re.sub(r"\\(.)", r"\1", said[1:-1]) if said.startswith('"') else said
        place = match.end()
    return None if value[place:].strip(" \t;") else found


def _may_mean(name: str, field: str) -> bool:
    return name == field or unquote(name).strip().lower() == field


def _text(body: bytes, part: _Part, allowed: frozenset[str] | None = None) -> str:
    """What a field says; if only some may be said, one of them."""
    content_type = part.head.get("content-type", "text/plain")
    parameters = _parameters(content_type.partition(";")[0], content_type) or {}
    encoding = part.head.get("content-transfer-encoding", "8bit").lower()
    try:
        if parameters.get("charset", "utf-8").lower() not in _CHARSETS or encoding not in _ENCODINGS:
            raise ValueError
        text = body[slice(*part.content)].decode()
        if allowed is not None and text.lower() not in allowed:
            raise ValueError
    except ValueError:
        raise BadRequestError(400, "invalid_body", f"The form's field {part.name!r} is not in UTF-8") from None
    return text


def _broken(reason: str) -> BadRequestError:
    return BadRequestError(400, "invalid_body", f"The body is no {FORM}: {reason}")
