"""The relay: everything between a request that was let in and its answer, on a thread of its own.

Made in a worker's lifespan, never at import: threads do not survive a fork. Bytes cross the boundary as
bytes, configuration once as JSON (`config/core.py`), faults as `llm_gateway.errors.Fault`.
"""

from asyncio import AbstractEventLoop, Future
from collections.abc import Iterable, Sequence
from typing import Literal, final

from llm_gateway.asgi.types import Answer, Receive, Send
from llm_gateway.config.schema import Window
from llm_gateway.errors import Fault
from llm_gateway.policy.plan import Plan

__all__ = ["Core", "Exchange", "Request", "shape"]

@final
class Request:
    """A validated body and the members of it that routing needs."""

    @property
    def model(self) -> str:
        """The model asked for, at most 256 bytes, without control characters."""
    @property
    def stream(self) -> bool:
        """Whether a stream was asked for."""
    @property
    def max_tokens(self) -> int | None:
        """The output limit in tokens, if one was given."""

@final
class Exchange:
    """One request to a model endpoint, from its head to its record.

    Exactly one of `refuse` and `run` ends it; dropped without either it leaves a record that says `lost`.
    """

    @property
    def request_id(self) -> str:
        """What the client is told as `request-id`."""
    def subscriber(self, user: str, tier: str) -> None:
        """Notes who asks."""
    def peek(self, body: bytes) -> Request:
        """Validates a JSON body in one pass without building it.

        Raises:
            Fault: `invalid_request` for anything that is not one JSON object with the members it needs.
        """
    def refuse(self, fault: Fault) -> Answer:
        """Ends the exchange before the relay: status, headers and body to answer with."""
    def run(
        self,
        request: Request,
        user: str,
        plan: Plan,
        headers: Iterable[tuple[bytes, bytes]],
        query: bytes,
        send: Send,
        receive: Receive,
    ) -> Future[None]:
        """Hands the request to the relay, which answers through `send` by itself.

        The future resolves when the last byte has been handed over, or the client has left. The coroutine has
        to wait for it: the server takes its return for the end of the answer.

        Raises:
            Fault: `overloaded` at the limit of exchanges in flight; nothing has been sent then.
        """

@final
class Core:
    """A worker's relay: its thread, upstreams, quota store and metrics."""

    def __new__(
        cls,
        settings: bytes,
        metrics_folder: str,
        drain_s: float,
        event_loop: AbstractEventLoop,
        fault: type[Fault],
    ) -> Core:
        """Starts the relay's thread; reaches no upstream and no store yet.

        `metrics_folder` is shared by the workers of one gateway and fresh at its start. `drain_s` is how long
        exchanges in flight may go on after `stop`.

        Raises:
            Fault: `config` for settings that cannot be used.
        """
    def begin(self, operation: Literal["messages", "count_tokens", "chat_completions"]) -> Exchange:
        """Begins the record of a request."""
    def counts(
        self, user: str, windows: Sequence[Window]
    ) -> Future[list[tuple[str, str | None, int | None, int, int | None]]]:
        """The state of a user's windows: (unit, period, limit, used, reset in Unix seconds) each.

        Concurrent requests have neither a period nor a reset.

        Raises:
            Fault: `overloaded` if the store does not answer (when awaited).
        """
    def store_state(self) -> Future[tuple[str, bool, float, int, bool]]:
        """How the quota store is: (text, local, down_s, waiting, journal_failed).

        `text` is `ok` or a sentence on what is wrong; `local` whether tiers may still go on from the last
        known counts; `down_s` for how many seconds it has been down; `waiting` how many settlements wait for
        it; `journal_failed` whether those can be kept in memory only.
        """
    def set_quota(self, user: str, window: Window, used: int, note: str) -> Future[int]:
        """Sets what is used of a window's current bucket and keeps `note`, one line of JSON, with it.

        Returns what was used before.

        Raises:
            Fault: `invalid_request` for concurrent requests, `overloaded` if the store does not answer, when
                it may have taken effect all the same (when awaited).
        """
    def quota_notes(self, user: str) -> Future[list[str]]:
        """The last notes of `set_quota` for a user, the newest first.

        Raises:
            Fault: `overloaded` if the store does not answer (when awaited).
        """
    def record_put(
        self,
        shelf: str,
        name: str,
        value: bytes,
        life_s: float,
        when: Literal["any", "absent", "present"] = "any",
        most: int | None = None,
    ) -> Future[bool]:
        """As `llm_gateway.records.Records`. A lost answer is asked for again unless `when` is `absent`.

        Raises:
            ValueError: for a shelf or a name that is not 1 to 512 bytes, a value above 64 KiB, a negative
            life. Fault: `overloaded` if the store does not answer, when it may have been put all the same
            (when awaited).
        """
    def record_get(self, shelf: str, name: str) -> Future[bytes | None]:
        """As `llm_gateway.records.Records`.

        Raises:
            Fault: `overloaded` if the store does not answer (when awaited).
        """
    def record_take(self, shelf: str, name: str) -> Future[bytes | None]:
        """As `llm_gateway.records.Records`. A lost answer is not asked for again.

        Raises:
            Fault: `overloaded` if the store does not answer, when it may be gone all the same (when awaited).
        """
    def records(self, shelf: str, after: int = 0) -> Future[tuple[int, list[tuple[str, bytes]]]]:
        """As `llm_gateway.records.Records`.

        Raises:
            Fault: `overloaded` if the store does not answer (when awaited).
        """
    def probe(self, upstream: str) -> Future[str]:
        """What an upstream speaks, in words: `anthropic and openai (vllm, 8192 tokens)`.

        Raises:
            Fault: if the server cannot be reached (when awaited).
        """
    def metrics(self) -> bytes:
        """The metrics of all workers in Prometheus' text format 0.0.4."""
    def jwks_age(self, seconds: float) -> None:
        """Notes the age of the token verification keys."""
    def stop(self) -> None:
        """Takes nothing more, lets exchanges in flight end within the drain time, ends the thread. Blocks."""

def shape(fault: Fault, dialect: Literal["anthropic", "openai"], request_id: str) -> Answer:
    """Status, headers and body of a fault, for endpoints that have no exchange."""
