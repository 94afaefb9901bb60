"""Sessions of browsers on the subscriber's page, kept beside the quota so that every replica knows them."""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Literal
from weakref import WeakValueDictionary

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from llm_gateway.auth.provider import Provider, ProviderRefusalError
from llm_gateway.config.schema import Settings
from llm_gateway.errors import Fault
from llm_gateway.records import Records

_NAME = "session"
_RENEWAL = "renewal"
_NONCE_BYTES = 12
# A token with less life than this is renewed before it is used.
_MARGIN_S = 30.0
_UNTOLD_LIFE_S = 300.0
# A claim to renew outlives any call of the provider, and is soon over if its holder was killed.
_CLAIM_S = 20.0
_LOOK_AGAIN_S = 0.05
_TEXT_CHARACTERS = 200


class Session(msgspec.Struct, frozen=True):
    """What is known of somebody who signed in; times in Unix seconds. `csrf` is in every form for them."""

    access_token: str
    refresh_token: str | None
    id_token: str | None
    expires_at: float
    ends_at: float
    csrf: str


class Sessions:
    """Begins, finds and ends sessions.

    A cookie holds 256 random bits. One hash of them is the record's name in the store, another one is the key
    under which it is encrypted: the store alone opens no session and holds no token.
    """

    def __init__(
        self,
        settings: Settings,
        provider: Provider,
        records: Records,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._life_s = settings.page.session_s
        self._provider = provider
        self._records = records
        self._clock = clock
        self._renewals: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def begin(self, answer: Mapping[str, Any]) -> str:
        """Returns the cookie of a new session with the tokens of a token endpoint's answer.

        Raises: `overloaded` if there are none in it, or the store does not answer.
        """
        cookie = secrets.token_urlsafe(32)
        session = self._renewed(answer, None)
        await self._keep(_place(cookie), session)
        return cookie

    async def find(self, cookie: str) -> Session | None:
        """Returns the session, with an access token that is good for a while; None if it is over.

        Raises: `overloaded` if the store or the provider does not answer.
        """
        place = _place(cookie)
        session = await self._read(place)
        if session is None or session.expires_at - self._clock() > _MARGIN_S:
            return session
        lock = self._renewals.setdefault(place.shelf, asyncio.Lock())
        async with lock:
            return await self._renewed_by_one(place, session)

    async def end(self, cookie: str) -> Session | None:
        """Ends the session, and at the provider what it can; returns what it was."""
        place = _place(cookie)
        value = await self._records.record_take(place.shelf, _NAME)
        session = None if value is None else place.opened(value)
        if session is not None:
            with suppress(Fault):
                await self._provider.revoke(session.refresh_token or session.access_token)
        return session

    async def _renewed_by_one(self, place: "_Place", before: Session) -> Session | None:
        """Returns the session as one worker of all replicas renews it, while the others wait for that one.

        Most providers take a refresh token once, and end the session where it comes again.
        """
        while True:
            session = await self._read(place)
            if session is None or session != before:
                return session
            if await self._records.record_put(place.shelf, _RENEWAL, b"-", _CLAIM_S, "absent"):
                break
            await asyncio.sleep(_LOOK_AGAIN_S)
        try:
            # It may have been renewed between the look and the claim.
            session = await self._read(place)
            return session if session is None or session != before else await self._renew(place, session)
        finally:
            await self._records.record_take(place.shelf, _RENEWAL)

    async def _renew(self, place: "_Place", session: Session) -> Session | None:
        try:
            if session.refresh_token is None:
                raise ProviderRefusalError(400, "invalid_grant", "no refresh token")
            answer = await self._provider.grant(
                {"grant_type": "refresh_token", "refresh_token": session.refresh_token}
            )
        except ProviderRefusalError:
            await self._records.record_take(place.shelf, _NAME)
            return None
        renewed = self._renewed(answer, session)
        # Nothing is put where the session was ended meanwhile.
        return renewed if await self._keep(place, renewed, "present") else None

    def _renewed(self, answer: Mapping[str, Any], before: Session | None) -> Session:
        access_token = answer.get("access_token")
        if not isinstance(access_token, str):
            raise Fault("overloaded", "the identity provider has sent no token; try again", retry_after_s=5)
        now, life_s = self._clock(), answer.get("expires_in")
        return Session(
            access_token=access_token,
            refresh_token=_text(answer, "refresh_token") or (before.refresh_token if before else None),
            id_token=_text(answer, "id_token") or (before.id_token if before else None),
            expires_at=now + (life_s if isinstance(life_s, int) and life_s > 0 else _UNTOLD_LIFE_S),
            ends_at=before.ends_at if before else now + self._life_s,
            csrf=before.csrf if before else secrets.token_urlsafe(32),
        )

    async def _keep(
        self, place: "_Place", session: Session, when: Literal["absent", "present"] = "absent"
    ) -> bool:
        life_s = session.ends_at - self._clock()
        if life_s <= 0:
            return False
        value = place.closed(session)
        return await self._records.record_put(place.shelf, _NAME, value, life_s, when)

    async def _read(self, place: "_Place") -> Session | None:
        value = await self._records.record_get(place.shelf, _NAME)
        session = None if value is None else place.opened(value)
        return session if session is not None and session.ends_at > self._clock() else None


class _Place:
    """Where a session lies, and the key to it."""

    def __init__(self, secret: bytes) -> None:
        self.shelf = f"session:{hmac.digest(secret, b'name', hashlib.sha256).hex()}"
        self._cipher = AESGCM(hmac.digest(secret, b"key", hashlib.sha256))

    def closed(self, session: Session) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, msgspec.json.encode(session), self.shelf.encode())

    def opened(self, value: bytes) -> Session | None:
        try:
            text = self._cipher.decrypt(value[:_NONCE_BYTES], value[_NONCE_BYTES:], self.shelf.encode())
            return msgspec.json.decode(text, type=Session)
        except (InvalidTag, ValueError):
            return None


def _place(cookie: str) -> _Place:
    return _Place(cookie[:_TEXT_CHARACTERS].encode("utf-8", "surrogateescape"))


def _text(answer: Mapping[str, Any], name: str) -> str | None:
    value = answer.get(name)
    return value if isinstance(value, str) and value else None
