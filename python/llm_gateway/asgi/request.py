"""A request to a view, as far as views need it."""

import ipaddress
from typing import NamedTuple
from urllib.parse import parse_qsl

from llm_gateway.asgi import body
from llm_gateway.asgi.types import Headers, Receive, Scope
from llm_gateway.config.schema import Limits, Server
from llm_gateway.errors import Fault

# Nothing that is sent to a view is large but what clients tell of themselves.
FORM_BYTES = 64 * 1024


class Request(NamedTuple):
    """One request; `argument` is what the path holds beyond the endpoint's own part, not decoded."""

    scope: Scope
    receive: Receive
    server: Server
    argument: str = ""

    @property
    def headers(self) -> Headers:
        """Lower-case names and raw values."""
        headers: Headers = self.scope["headers"]
        return headers

    def header(self, name: bytes) -> bytes | None:
        """Returns the first value of a header, or None."""
        return next((value for key, value in self.headers if key == name), None)

    def cookie(self, name: str) -> str | None:
        """Returns what `set_cookie` gave this browser under that name, or None."""
        wanted = self._cookie_name(name)
        for pair in (self.header(b"cookie") or b"").decode("latin-1").split(";"):
            found, is_pair, value = pair.strip().partition("=")
            if is_pair and found == wanted:
                return value
        return None

    def set_cookie(self, name: str, value: str, life_s: int) -> tuple[bytes, bytes]:
        """Returns the header that gives this browser a cookie, or with 0 seconds takes it away.

        No script can read it, no other site's form sends it, and over TLS no other host can have set it.
        Source: RFC 6265bis section 4.1.3.2.
        """
        secure = "; Secure" if self._is_encrypted() else ""
        text = f"{self._cookie_name(name)}={value}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Lax{secure}"
        return b"set-cookie", text.encode()

    def query(self) -> dict[str, str]:
        """Returns the query's parameters; of several of one name the last."""
        return dict(parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True))

    async def body(self, limits: Limits, most_bytes: int = FORM_BYTES) -> bytes:
        """Returns the body. Raises: `too_large`, `request_timeout`, `canceled`."""
        return await body.read(self.headers, self.receive, limits, most_bytes)

    async def form(self, limits: Limits) -> dict[str, str]:
        """Returns the fields of an `application/x-www-form-urlencoded` body.

        Raises: as `body`, `unsupported_media_type`, and `invalid_request` for a field that is there twice or
        what is no UTF-8. Source: RFC 6749 section 3.2: parameters must not be repeated.
        """
        kind = (self.header(b"content-type") or b"").split(b";", 1)[0].strip().lower()
        if kind != b"application/x-www-form-urlencoded":
            raise Fault(
                "unsupported_media_type",
                "send the fields with `content-type: application/x-www-form-urlencoded`",
            )
        try:
            text = (await self.body(limits)).decode()
            fields = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=64)
        except ValueError:
            raise Fault("invalid_request", "the body is not a form of at most 64 fields in UTF-8") from None
        if len(fields) != len(dict(fields)):
            raise Fault("invalid_request", "a field of the form is there twice; send it once")
        return dict(fields)

    def base_url(self) -> str:
        """Returns the gateway's own address as this client sees it, without a closing slash.

        Without `server.public_url` that is the host it asked for, or the one that a trusted proxy names:
        good for what is shown to the client itself, and nothing else.
        """
        if self.server.public_url is not None:
            return self.server.public_url
        host, scheme = self.header(b"host"), str(self.scope["scheme"])
        if self._is_from_trusted_proxy():
            host = self.header(b"x-forwarded-host") or host
            told = (self.header(b"x-forwarded-proto") or b"").decode("latin-1").lower()
            scheme = told if told in ("http", "https") else scheme
        return f"{scheme}://{(host or b'localhost:8000').decode('latin-1')}"

    def _cookie_name(self, name: str) -> str:
        return f"__Host-{name}" if self._is_encrypted() else name

    def _is_encrypted(self) -> bool:
        return self.base_url().startswith("https://")

    def _is_from_trusted_proxy(self) -> bool:
        client = self.scope.get("client")
        if not self.server.trusted_proxies or not client:
            return False
        try:
            address = ipaddress.ip_address(client[0])
        except ValueError:
            return False
        return any(address in ipaddress.ip_network(network) for network in self.server.trusted_proxies)
