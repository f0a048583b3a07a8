"""Under which name an upstream knows a model: that takes the place of its caller's, and nothing else changes."""

import json
import re

import msgspec

from invoker.protocols.base import Call, Name, Splice

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:]')
_STRING = re.compile(rb'[ \t\r\n]*:[ \t\r\n]*("[^"\\]*(?:\\.[^"\\]*)*")')


def renamed(call: Call, name: Name, model_id: str) -> Call:
    """The same request, whose body names this model, and is no copy if it is large."""
    text = msgspec.json.encode(model_id) if name.quoted else model_id.encode()
    asking, further = call.asking, len(text) - (name.end - name.begin)
    if asking is not None and asking.begin >= name.end:
        asking = Splice(asking.begin + further, asking.end + further, asking.text)
    body = Splice(name.begin, name.end, text).put_into(call.body)
    name = Name(name.begin, name.begin + len(text), name.quoted)
    return msgspec.structs.replace(call, body=body, name=name, asking=asking)


def find_name(body: bytes, *keys: str) -> Name:
    """Where a valid request, which says these keys once each, has the string that they lead to."""
    last = b'"%b"' % keys[-1].encode()
    if body.count(last) == 1 and b"\\u" not in body:  # as in most: within a text, its quotes would be escaped
        match = _STRING.match(body, body.index(last) + len(last))
        if match is not None:
            return Name(*match.span(1))
    depth = found = 0
    string = b""
    for token in _TOKEN.finditer(body):
        text = token[0]
        if text[:1] == b'"':
            if found == len(keys):
                return Name(*token.span())
            string = text
        elif text == b":":
            if depth == found + 1 and json.loads(string) == keys[found]:
                found += 1
        else:
            depth += 1 if text in b"{[" else -1
    raise ValueError(f"it has no {'.'.join(keys)}")
