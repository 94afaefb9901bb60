"""The issuer's keys, kept: when they are fetched, and what is done while they cannot be."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from llm_gateway.auth.issuer import UnusableAnswerError
from llm_gateway.auth.jwk import VerificationKey
from llm_gateway.errors import Fault

_log = logging.getLogger("llm_gateway.auth")

# Nobody is let in without keys, so then a request may wait as long as a connection takes.
_WAIT_WITH_KEYS_S = 0.25
_WAIT_WITHOUT_KEYS_S = 2.0
_START_WAIT_S = 3.0
_RETRY_WITHOUT_KEYS_S = 2.0


class Jwks:
    """Keys by `kid`, fetched ahead of their age, one fetch at a time.

    Half of `max_age_s` passes between fetches, so that a key which the issuer withdrew is refused at most
    `max_age_s` later although a fetch takes time. An unknown `kid` causes a fetch of its own, at most one per
    `cooldown_s`. A fetch that fails, or yields no usable key, leaves the keys as they are.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Mapping[str, VerificationKey]]],
        *,
        max_age_s: float,
        cooldown_s: float,
        on_change: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._max_age_s = max_age_s
        self._cooldown_s = cooldown_s
        self._on_change = on_change
        self._clock = clock
        self._keys: Mapping[str, VerificationKey] = {}
        self._fetched_at: float | None = None
        self._asked_at: float | None = None
        self._failing = False
        self._fetching: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to keep the keys fresh; returns after the first fetch, or after 3 s without one."""
        self._keeper = asyncio.create_task(self._keep_fresh())
        await asyncio.wait({self._begin_fetch()}, timeout=_START_WAIT_S)

    async def stop(self) -> None:
        """Returns when no task is left."""
        tasks = [task for task in (self._keeper, self._fetching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._keeper = self._fetching = None

    def age_s(self) -> float | None:
        """Returns the seconds since the last good fetch; None before the first."""
        return None if self._fetched_at is None else self._clock() - self._fetched_at

    async def key(self, kid: str) -> VerificationKey | None:
        """Returns the key, or None if the issuer has none of that name.

        Waits at most 0.25 s, or 2 s while there are no keys at all.

        Raises: `overloaded` if the issuer cannot be asked at the moment.
        """
        key = self._keys.get(kid)
        if key is not None:
            return key
        if self._may_ask():
            self._asked_at = self._clock()
            self._begin_fetch()
        if self._fetching is not None:
            wait_s = _WAIT_WITH_KEYS_S if self._keys else _WAIT_WITHOUT_KEYS_S
            await asyncio.wait({self._fetching}, timeout=wait_s)
        key = self._keys.get(kid)
        if key is None and (self._failing or self._fetching is not None):
            raise Fault(
                "overloaded",
                "sign-in keys cannot be fetched at the moment; try again shortly",
                retry_after_s=5,
            )
        return key

    def _may_ask(self) -> bool:
        return self._asked_at is None or self._clock() - self._asked_at >= self._cooldown_s

    def _begin_fetch(self) -> asyncio.Task[None]:
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch_once())
        return self._fetching

    async def _fetch_once(self) -> None:
        try:
            keys = await self._fetch()
        except UnusableAnswerError as cause:
            if not self._failing:
                then = "going on with those known" if self._keys else "and none are known"
                _log.warning("the issuer's keys cannot be fetched, %s: %s", then, cause)
            self._failing = True
        else:
            if self._failing:
                _log.warning("the issuer's keys can be fetched again")
            self._failing = False
            self._fetched_at = self._clock()
            if keys != self._keys:
                self._keys = keys
                self._on_change()
        finally:
            self._fetching = None

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.wait({self._begin_fetch()})
            await asyncio.sleep(self._pause_s())

    def _pause_s(self) -> float:
        if not self._keys:
            return min(self._cooldown_s, _RETRY_WITHOUT_KEYS_S)
        return min(self._cooldown_s, self._max_age_s / 2) if self._failing else self._max_age_s / 2
