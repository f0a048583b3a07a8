"""nginx: the cheapest upstream there is, and the proxy that sets the limit."""

from urllib.parse import urlsplit

FIXED_UPSTREAM = """
server {
    listen 127.0.0.1:{port} backlog=4096;
    location / { default_type application/json; return 200 '{"worklet_output":[6,7,8,9,10]}'; }
}
"""

CHAT_UPSTREAM = """
server {
    listen 127.0.0.1:{port} backlog=4096;
    default_type application/json;
    location / { return 200 '{"worklet_output":[6,7,8,9,10]}'; }
    location /v1/ { return 200 '{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench",\
"choices":[{"index":0,"message":{"role":"assistant","content":"one two three","refusal":null},"logprobs":null,\
"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":3,"total_tokens":6,\
"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}'; }
}
"""
"""It answers a chat, too."""


def proxy(upstream: str, more: str = "") -> str:
    """One process that passes everything on over kept connections; `more`: directives."""
    return f"""
upstream model {{ server {urlsplit(upstream).netloc}; keepalive 1024; keepalive_requests 1000000000; }}
server {{
    listen 127.0.0.1:{{port}} backlog=4096;
    location / {{ proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ""; {more} }}
}}
"""
