"""The pages that a browser sees: templates and files, without scripts in them and without a third party."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_KINDS = {
    "icon.svg": b"image/svg+xml",
    "page.js": b"text/javascript; charset=utf-8",
    "style.css": b"text/css; charset=utf-8",
}

# `form-action` also holds for where a form's answer redirects to: signing out goes on to the provider.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'self'{targets}; frame-ancestors 'none'"
)
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    # Not `no-referrer`: browsers would send forms with the origin `null`, which tells nothing.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_ENVIRONMENT = Environment(
    loader=PackageLoader(__name__, "."),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

Page = tuple[list[tuple[bytes, bytes]], bytes]


def render(
    template: str, values: Mapping[str, Any], *, is_personal: bool, form_targets: tuple[str, ...] = ()
) -> Page:
    """Headers and body of a page with `values` filled in; the length is not among the headers.

    What is personal is kept nowhere. `form_targets` are origins that a form's answer may redirect to.
    """
    body = _ENVIRONMENT.get_template(template).render(values).encode()
    targets = "".join(f" {target}" for target in form_targets)
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"cache-control", b"no-store" if is_personal else b"no-cache"),
        (b"content-security-policy", _POLICY.format(targets=targets).encode()),
        *_HEADERS,
    ]
    return headers, body


def asset(name: str) -> Page:
    """Headers and body of a file that pages need. Raises: KeyError if there is none of that name."""
    kind = _KINDS[name]
    return [(b"content-type", kind), (b"cache-control", b"no-cache"), *_HEADERS], _content(name)


@cache
def _content(name: str) -> bytes:
    return (files(__name__) / name).read_bytes()
