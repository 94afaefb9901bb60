"""Answers of views."""

from typing import Any

import msgspec

from llm_gateway.asgi.types import Answer, Headers

JSON = b"application/json"


def json_answer(value: Any, status: int = 200, headers: Headers | None = None) -> Answer:
    """`value` as JSON."""
    return answer(msgspec.json.encode(value), JSON, status, headers)


def answer(body: bytes, content_type: bytes, status: int = 200, headers: Headers | None = None) -> Answer:
    """`body` as it is."""
    length = str(len(body)).encode()
    return status, [(b"content-type", content_type), (b"content-length", length), *(headers or [])], body
