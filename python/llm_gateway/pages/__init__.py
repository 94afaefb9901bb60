"""The page a browser sees at `/`: how to connect. Static, without scripts and without a third party."""

from functools import cache
from html import escape
from importlib.resources import files

_EXAMPLE_URL = "https://gateway.example"
_KINDS = {
    "/": ("index.html", b"text/html; charset=utf-8"),
    "/style.css": ("style.css", b"text/css; charset=utf-8"),
}
_HEADERS = [
    (b"cache-control", b"no-cache"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


def page(path: str, base_url: str) -> tuple[int, list[tuple[bytes, bytes]], bytes] | None:
    """Status, headers and body for `/` and `/style.css`, or None for a path that is no page.

    `base_url` is the gateway's own address as clients see it, without `/v1` and without a closing slash.
    """
    if path not in _KINDS:
        return None
    name, content_type = _KINDS[path]
    body = _text(name).replace(_EXAMPLE_URL, escape(base_url)).encode()
    length = (b"content-length", str(len(body)).encode())
    return 200, [(b"content-type", content_type), length, *_HEADERS], body


@cache
def _text(name: str) -> str:
    return (files(__name__) / name).read_text("utf-8")
