"""The gateway's address, as a person writes it."""

import ipaddress
import re
from argparse import ArgumentTypeError
from urllib.parse import urlsplit, urlunsplit

# Nothing that a shell or a settings file would take for more than text: the address is written into both.
_WRITTEN = re.compile(r"[\w.~%:/\[\]-]+")


def gateway_url(text: str) -> str:
    """Returns the base URL without `/v1` and closing slash, the host in lower case.

    Raises: ArgumentTypeError for anything but https, or http to this machine itself: a token would be
    readable on the way.
    """
    text = text.strip()
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ArgumentTypeError("expected a URL like https://gateway.example") from None
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host or not _WRITTEN.fullmatch(text):
        raise ArgumentTypeError("expected a URL like https://gateway.example")
    if parts.scheme == "http" and not _is_this_machine(host):
        raise ArgumentTypeError(f"http would show your token to others on the way to {host}; use https")
    shown = f"[{host}]" if ":" in host else host
    place = shown if port is None else f"{shown}:{port}"
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return urlunsplit((parts.scheme, place, path, "", ""))


def same_origin(url: object, base_url: str) -> bool:
    """Whether `url` is one of the gateway's own."""
    if not isinstance(url, str):
        return False
    try:
        return urlsplit(url)[:2] == urlsplit(base_url)[:2]
    except ValueError:
        return False


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
