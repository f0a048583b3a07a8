"""HTTP/1.1 as bytes: heads, answers, codings. No sockets."""
