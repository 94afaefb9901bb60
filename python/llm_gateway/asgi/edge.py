"""What a request to a model endpoint must say of its body before it is read."""

from llm_gateway.asgi.types import Headers
from llm_gateway.errors import Fault


def check(headers: Headers) -> None:
    """Returns if the body is JSON as far as its headers say.

    A form or plain text is what a browser may send across sites without asking; JSON it may not.

    Raises:
        Fault: `unsupported_media_type` for another media type or a compressed body.
    """
    for name, value in headers:
        if name == b"content-type":
            if value.split(b";", 1)[0].strip().lower() != b"application/json":
                raise Fault("unsupported_media_type", "send the body with `content-type: application/json`")
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            raise Fault("unsupported_media_type", "send the body without `content-encoding`")
