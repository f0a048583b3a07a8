"""nginx: the cheapest upstream there is, and the proxy that sets the limit."""

from urllib.parse import urlsplit

FIXED_UPSTREAM = """
server {
    listen 127.0.0.1:{port} backlog=4096;
    location / { default_type application/json; return 200 '{"worklet_output":[6,7,8,9,10]}'; }
}
"""


def proxy(upstream: str) -> str:
    """One process that passes everything on over kept connections."""
    return f"""
upstream model {{ server {urlsplit(upstream).netloc}; keepalive 1024; keepalive_requests 1000000000; }}
server {{
    listen 127.0.0.1:{{port}} backlog=4096;
    location / {{ proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ""; }}
}}
"""
