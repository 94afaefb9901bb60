"""Whether a token still holds that was good when it was issued: revoked since, or its owner disabled."""

import asyncio
import logging
from collections.abc import Callable

from llm_gateway.auth.provider import Provider, ProviderRefusalError
from llm_gateway.auth.refusal import refusal
from llm_gateway.auth.revocations import Revocations
from llm_gateway.auth.token_cache import Admission
from llm_gateway.config.schema import Auth
from llm_gateway.errors import Fault

_log = logging.getLogger("llm_gateway.auth")

# What a request waits for the issuer's word on a token that nobody has asked about for long.
_WAIT_S = 2.0
_LEEWAY_S = 60.0
_LONGEST_LIFE_S = 24 * 3600.0
# Above it the issuer is asked no more at once: tokens wait for their turn.
_ASKED_AT_ONCE = 32


class SessionWatch:
    """Knows which tokens hold no more: from the feed of revocations and, with `auth.introspect`, from the
    issuer.

    `auth.issuer` is asked before a token that was never seen here is let in, and then beside the requests,
    again after `introspect_s` of use. So a token in use is refused at the latest twice that after the issuer
    would refuse it. While the issuer does not answer, tokens go on until they end: their signature still
    says whose they are.
    """

    def __init__(
        self,
        auth: Auth,
        revocations: Revocations,
        provider: Provider | None,
        clock: Callable[[], float],
    ) -> None:
        self._issuer = auth.issuer
        self._every_s = auth.introspect_s if auth.introspect and provider is not None else None
        self._revocations = revocations
        self._provider = provider
        self._clock = clock
        self._asking: dict[Admission, asyncio.Task[bool]] = {}
        self._turns = asyncio.Semaphore(_ASKED_AT_ONCE)
        self._failing = False

    async def check(self, token: bytes, admission: Admission) -> None:
        """Returns if the token holds, as far as is known; without a wait if that was known lately.

        Raises: `unauthenticated` if it does not.
        """
        if admission.is_over or self._is_revoked(admission):
            raise refusal("revoked, or its owner disabled")
        if self._every_s is None or admission.issuer != self._issuer:
            return
        asked_at = admission.asked_at
        age_s = None if asked_at is None else self._clock() - asked_at
        if age_s is not None and age_s < self._every_s:
            return
        task = self._asking.get(admission) or self._ask(token, admission)
        if age_s is not None and age_s < 2 * self._every_s:
            # Asked about beside this request: the answer is for those after it.
            return
        await asyncio.wait({task}, timeout=_WAIT_S)
        if task.done() and not task.result():
            raise refusal("the issuer says that it does not hold")

    async def revoke(self, admission: Admission) -> None:
        """Revokes a token and what was issued before now for its session, on all replicas.

        Raises: `overloaded` if the store does not answer.
        """
        # Another token of the session may have been issued at any time until now, for as long as this one.
        expires_at = admission.subscriber.expires_at or self._clock()
        life_s = min(_LONGEST_LIFE_S, expires_at - min(admission.issued_at or 0.0, self._clock()))
        for name in admission.names:
            await self._revocations.add(name, life_s + _LEEWAY_S)

    async def stop(self) -> None:
        """Returns when nothing is being asked any more."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    def _is_revoked(self, admission: Admission) -> bool:
        for name in admission.names:
            at = self._revocations.revoked_at(name)
            # Who signs in again may get the session's old id, in a token of a later time.
            if at is not None and (name.startswith("jti:") or admission.issued_at <= at):
                return True
        return False

    def _ask(self, token: bytes, admission: Admission) -> asyncio.Task[bool]:
        task = asyncio.create_task(self._holds(token, admission))
        self._asking[admission] = task
        task.add_done_callback(lambda _: self._asking.pop(admission, None))
        return task

    async def _holds(self, token: bytes, admission: Admission) -> bool:
        assert self._provider is not None  # noqa: S101 - nobody is asked without one
        try:
            async with self._turns:
                holds = await self._provider.is_active(token.decode("ascii"))
        except (Fault, ProviderRefusalError) as cause:
            if not self._failing:
                _log.warning("the issuer cannot be asked whether tokens still hold: %s", cause)
            self._failing = True
            admission.asked_at = self._clock()
            return True
        self._failing = False
        admission.asked_at = self._clock()
        admission.is_over = not holds
        return holds
