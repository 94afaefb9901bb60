"""The one exception this gateway raises on purpose.

Fault
├── kinds a client causes    unauthenticated forbidden not_found method_not_allowed invalid_request
│                            too_large unsupported_media_type request_timeout quota_exceeded rate_limited
│                            canceled
├── kinds an upstream causes upstream_error upstream_timeout overloaded not_supported
└── kinds we cause           quota_unknown config internal

`rust/fault` holds the same words, and `rust/wire/src/shape.rs` is the one table from a kind to a status,
headers and body in either dialect.
"""

from typing import Literal

Kind = Literal[
    "unauthenticated",
    "forbidden",
    "not_found",
    "method_not_allowed",
    "invalid_request",
    "too_large",
    "unsupported_media_type",
    "request_timeout",
    "quota_exceeded",
    "rate_limited",
    "quota_unknown",
    "overloaded",
    "not_supported",
    "upstream_error",
    "upstream_timeout",
    "canceled",
    "config",
    "internal",
]


class Fault(Exception):  # noqa: N818 - the project's word for it, see ARCHITECTURE.md
    """A refusal or failure with a sentence for the person who asked.

    `message` is lower case, without a full stop and without secrets, and says what to change. `param` names
    the request member at fault. `retry_after_s` is in whole seconds; `should_retry` becomes
    `x-should-retry`, where None leaves the decision to the client.
    """

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.should_retry = should_retry


class ConfigError(Exception):
    """The configuration cannot be used; `problems` holds one printable line per mistake, at least one."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
