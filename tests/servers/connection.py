"""A client that sends exactly the bytes a test wants, and shows exactly what came back."""

import json
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPResponse
from types import TracebackType
from typing import Any, Self

Header = tuple[str, str]


@dataclass(frozen=True)
class Reply:
    """A whole answer; header names are in lower case."""

    status: int
    headers: tuple[Header, ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The only header of that name."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, f"{name} is there {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)


def chat(model: str = "claude-3-haiku", stream: bool = False, **members: object) -> bytes:
    """The body of a small request that both APIs understand."""
    messages = [{"role": "user", "content": "hello"}]
    return json.dumps(
        {"model": model, "max_tokens": 64, "stream": stream, "messages": messages} | members
    ).encode()


def head(method: str, target: str, headers: Sequence[Header]) -> bytes:
    """A request head for `target` as it stands; without a host among the headers there is one of ours."""
    lines = [f"{method} {target} HTTP/1.1"]
    if not any(name.lower() == "host" for name, _ in headers):
        lines.append("host: gateway.test")
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Connection:
    """One TCP connection to a port of the loopback."""

    def __init__(self, port: int, *, receive_buffer_bytes: int | None = None, timeout_s: float = 30) -> None:
        self._socket = socket.socket()
        self._answers: list[HTTPResponse] = []
        self._socket.settimeout(timeout_s)
        if receive_buffer_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        try:
            self._socket.connect(("127.0.0.1", port))
        except OSError:
            self._socket.close()
            raise
        self.own_port: int = self._socket.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def post(self, target: str, body: bytes, key: str, headers: Sequence[Header] = ()) -> None:
        """Sends a request with a JSON body and its length."""
        own = [("content-type", "application/json"), ("content-length", str(len(body))), ("x-api-key", key)]
        self.send(head("POST", target, [*own, *headers]) + body)

    def end_sending(self) -> None:
        """Half-closes: the other side reads an end of file, and may still answer."""
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self, method: str = "POST") -> HTTPResponse:
        """The answer once its head is there; its body is read from it."""
        response = HTTPResponse(self._socket, method=method)
        self._answers.append(response)
        response.begin()
        return response

    def reply(self, method: str = "POST") -> Reply:
        """The whole answer. Raises IncompleteRead if its framing says that it was cut short."""
        response = self.answer(method)
        body = response.read()
        headers = tuple((name.lower(), value) for name, value in response.getheaders())
        return Reply(response.status, headers, body)

    def is_closed_by_peer(self) -> bool:
        """Whether the other side ends the connection without another byte; waits for either."""
        try:
            return self._socket.recv(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        # Each answer reads through a file of its own, which would keep the socket open.
        for answer in self._answers:
            answer.close()
        self._socket.close()

    def reset(self) -> None:
        """Closes with RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


def ask(port: int, target: str, body: bytes, key: str, headers: Sequence[Header] = ()) -> Reply:
    """The answer to one POST on a connection of its own."""
    with Connection(port) as connection:
        connection.post(target, body, key, headers)
        return connection.reply()


def get(port: int, target: str, *headers: Header, method: str = "GET") -> Reply:
    """The answer to a request without a body on a connection of its own."""
    with Connection(port) as connection:
        connection.send(head(method, target, headers))
        return connection.reply(method)


def used(port: int, key: str) -> int:
    """What `/quota` says is used of the first window."""
    reply = get(port, "/quota", ("x-api-key", key))
    assert reply.status == 200, reply
    return int(reply.json()["windows"][0]["used"])
