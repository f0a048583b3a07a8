"""Requests that are none: what is sent where `{target}` stands for a path, and the status that it has everywhere."""

GET = b"GET {target} HTTP/1.1\r\n"
HOST = b"Host: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

MALFORMED: list[tuple[bytes, int]] = [
    (GET.replace(b"1.1", version) + HOST + b"\r\n", 400)
    for version in (b"9.9", b"1.2", b"2.0", b"0.9", b"1.10", b"1", b"x.y", b"01.1")
]
MALFORMED += [
    (line + b"\r\n" + HOST + b"\r\n", 400)
    for line in (
        b"GET {target}",
        b"GET {target} ",
        b"GET {target} http/1.1",
        b"GET {target} HTTP/1.1 x",
        b"GET\t{target}\tHTTP/1.1",
        b"GET HTTP/1.1",
        b"Extra lineGET {target} HTTP/1.1",
        b"get {target} HTTP/1.1",
        b"BREW {target} HTTP/1.1",
        b"GET {target}\xff HTTP/1.1",
        b"GET x{target} HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    )
]
MALFORMED += [
    (GET + host + b"\r\n", 400)
    for host in (
        b"",
        HOST + HOST,
        HOST + b"host: y\r\n",
        b"Host: a b\r\n",
        b"Host: a/b\r\n",
        b"Host: user@x\r\n",
        b"Host: x:port\r\n",
        b"Host: [x\r\n",
        b"Host: \xc3\xa9\r\n",
        b"Host: <x>\r\n",
        b"Host: %zz\r\n",
    )
]
MALFORMED += [
    (GET + HOST + lines + b"\r\n", 400)
    for lines in (
        b"X-Invalid[]: a\r\n",
        b"X : a\r\n",
        b": a\r\n",
        b"X\r\n",
        b"X: a\r\n b\r\n",
        b" X: a\r\n",
        b"X: a\0b\r\n",
        b"X: a\x07\r\n",
        b"X: a\nY: b\r\n",
        b"X: a\rY: b\r\n",
        b"\rX: a\r\n",
        b"Content-Length: -1234\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: abc\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Content-Length: 5\r\n" + CHUNKED,
        CHUNKED + b"content-length: 5\r\n",
        CHUNKED + CHUNKED,
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: chunked, gzip\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
    )
]
MALFORMED += [
    ((GET + HOST + b"\r\n").replace(b"\r\n", b"\n"), 400),
    (GET.replace(b"1.1", b"1.0") + HOST + CHUNKED + b"\r\n0\r\n\r\n", 400),
    (GET + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    (GET + HOST + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 501),
    (GET + HOST + b"X: " + b"a" * 8200 + b"\r\n\r\n", 431),
    (GET + HOST + b"X" * 8200 + b": a\r\n\r\n", 431),
    (GET + HOST + b"".join(b"X%d: %b\r\n" % (number, b"a" * 1000) for number in range(40)) + b"\r\n", 431),
    (GET + HOST + b"".join(b"X%d: %b\r\n" % (number, b"a" * 100) for number in range(140)) + b"\r\n", 431),
    (b"GET {target}" + b"x" * 330_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
]
