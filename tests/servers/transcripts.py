"""The golden transcripts of the translation (`tests/fixtures/transcripts/README.md`), as values."""

import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parents[1] / "fixtures" / "transcripts"

_INVENTED = (
    (re.compile(rb"toolu_gw_[0-9A-Za-z]+"), b"toolu_gw_test"),
    (re.compile(rb"msg_[0-9a-f]{24}"), b"msg_test"),
    (re.compile(rb"req_[0-9a-f]{32}"), b"req_test"),
    (re.compile(rb'"created":\d+'), b'"created":0'),
)


class Expected(NamedTuple):
    """What a client has to get; `body` as `alike` leaves it."""

    status: int
    stream: bool
    body: bytes
    headers: dict[str, str | None]


class Transcript:
    """One case. Bodies are bytes; the client's model is `client-model`, the upstream's `upstream-model`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name
        self.about: dict[str, Any] = json.loads((folder / "case.json").read_text())

    @cached_property
    def request(self) -> bytes:
        """The client's body."""
        return (self.folder / "request.json").read_bytes()

    @property
    def path(self) -> str:
        """The client's endpoint."""
        default = "messages" if self.about["client"] == "anthropic" else "chat_completions"
        paths = {"messages": "/v1/messages", "count_tokens": "/v1/messages/count_tokens"}
        return paths.get(self.about.get("operation", default), "/v1/chat/completions")

    @property
    def is_count(self) -> bool:
        """Whether tokens are counted."""
        return self.path.endswith("count_tokens")

    @property
    def upstream_path(self) -> str:
        """The endpoint that the upstream is to be called at."""
        if self.is_count:
            return "/tokenize"
        return "/v1/chat/completions" if self.about["client"] == "anthropic" else "/v1/messages"

    @cached_property
    def upstream_request(self) -> bytes | None:
        """What the upstream has to get, compact; None if the case is not about it."""
        return _compact(self._file("upstream_request.json"))

    @cached_property
    def upstream_answer(self) -> tuple[bytes, str] | None:
        """What the upstream says, and its content type; None if it is not called or may say anything."""
        types = {"sse": "text/event-stream", "json": "application/json", "txt": "text/html"}
        for suffix, content_type in types.items():
            if (text := self._file(f"upstream_answer.{suffix}")) is not None:
                return text, content_type
        return None

    @property
    def reaches_the_upstream(self) -> bool:
        """Whether the upstream is called at all."""
        return self.upstream_request is not None or self.upstream_answer is not None

    @cached_property
    def expected(self) -> Expected | None:
        """What the client has to get; None if the case is about the request alone."""
        status, headers = self.about.get("status", 200), self.about.get("headers", {})
        if (whole := _compact(self._file("answer.json"))) is not None:
            return Expected(status, False, whole, headers)
        stream = self._file("answer.sse")
        return None if stream is None else Expected(status, True, stream, headers)

    def _file(self, name: str) -> bytes | None:
        path = self.folder / name
        return path.read_bytes() if path.exists() else None


def transcripts() -> list[Transcript]:
    """Every case, by name."""
    return [Transcript(file.parent) for file in sorted(FOLDER.glob("*/case.json"))]


def alike(body: bytes) -> bytes:
    """`body` with what differs from run to run made the same, and whole JSON without spaces."""
    for pattern, same in _INVENTED:
        body = pattern.sub(same, body)
    return _compact(body) or body


def _compact(text: bytes | None) -> bytes | None:
    """JSON without the spaces between its parts, every digit and escape kept; other text as it is."""
    if text is None:
        return None
    try:
        json.loads(text)
    except ValueError:
        return text
    return b"".join(re.findall(rb'"(?:[^"\\]|\\.)*"|[^\s"]+', text))
