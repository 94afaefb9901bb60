"""What Claude Code asks for beside answers of models: its managed settings, and a place for its telemetry."""

from llm_gateway.asgi.answers import JSON, answer
from llm_gateway.asgi.gateway import Gateway
from llm_gateway.asgi.request import Request
from llm_gateway.asgi.types import Answer
from llm_gateway.errors import Fault

_PROTOBUF = b"application/x-protobuf"
_TELEMETRY_BYTES = 4 * 1024 * 1024


async def managed_settings(gateway: Gateway, request: Request) -> Answer:
    """The managed settings of the caller's tier; 304 if the client has them already.

    Raises: `not_found` for a tier without any (the client then forgets what it had), and as authentication
    does.
    """
    subscriber = await gateway.subscriber(request.headers)
    document = gateway.managed_settings.of(subscriber.tier)
    if document is None:
        raise Fault("not_found", f"the {subscriber.tier} tier has no managed settings")
    headers = [(b"etag", f'"{document.checksum}"'.encode()), (b"cache-control", b"private, no-cache")]
    if _has(request.header(b"if-none-match"), document.checksum):
        return 304, headers, b""
    return answer(document.body, JSON, headers=headers)


async def telemetry(gateway: Gateway, request: Request) -> Answer:
    """Takes OTLP of those who may use the gateway: 200, whatever becomes of it.

    Raises: `unsupported_media_type`, `too_large`, and as authentication does.
    """
    await gateway.subscriber(request.headers)
    content_type = request.header(b"content-type") or b""
    kind = content_type.split(b";", 1)[0].strip().lower()
    if kind not in (JSON, _PROTOBUF):
        raise Fault("unsupported_media_type", "send OTLP as application/json or application/x-protobuf")
    body = await request.body(gateway.settings.limits, _TELEMETRY_BYTES)
    encoding = request.header(b"content-encoding")
    gateway.telemetry.take(
        request.argument,
        content_type.decode("latin-1"),
        None if encoding is None else encoding.decode("latin-1"),
        body,
    )
    # An answer without a member says that everything was taken.
    return answer(b"{}" if kind == JSON else b"", kind)


def _has(if_none_match: bytes | None, checksum: str) -> bool:
    """Source: RFC 9110 section 13.1.2. `*` counts as absent: the client would be left with nothing."""
    tags = (if_none_match or b"").decode("latin-1").split(",")
    return f'"{checksum}"' in {tag.strip().removeprefix("W/") for tag in tags}
