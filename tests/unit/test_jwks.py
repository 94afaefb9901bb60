import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from llm_gateway.auth.issuer import Issuer, UnusableAnswerError
from llm_gateway.auth.jwk import verification_keys
from llm_gateway.auth.jwks import Jwks
from llm_gateway.config.schema import Auth
from llm_gateway.errors import ConfigError, Fault
from tests.servers.issuer import DISCOVERY, JWKS, ScriptedIssuer, Signer, base64url, reply, rsa_key

pytestmark = pytest.mark.anyio

OLD, NEW = Signer("old"), Signer("new")
HUGE = 100 * 1024 * 1024


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def issuer() -> AsyncIterator[ScriptedIssuer]:
    async with ScriptedIssuer() as scripted:
        scripted.keys = [OLD.jwk()]
        yield scripted


def cached(
    issuer: ScriptedIssuer,
    clock: Clock,
    *,
    max_age_s: float = 600.0,
    on_change: Callable[[], None] = lambda: None,
) -> Jwks:
    fetch = Issuer(Auth(provider="oidc", issuer=issuer.url)).keys
    return Jwks(fetch, max_age_s=max_age_s, cooldown_s=10.0, on_change=on_change, clock=clock)


def usable(*jwks: object) -> set[str]:
    return set(verification_keys({"keys": list(jwks)}))


class TestKeys:
    async def test_admits_the_key_types_of_the_allow_list(self) -> None:
        keys = verification_keys(
            {
                "keys": [
                    Signer("rsa").jwk(alg=None),
                    Signer("pss", "PS256").jwk(),
                    Signer("ec", "ES256", ec.generate_private_key(ec.SECP256R1())).jwk(alg=None),
                    Signer("ed", "EdDSA", ed25519.Ed25519PrivateKey.generate()).jwk(alg=None),
                ]
            }
        )
        assert {kid: key.algorithms for kid, key in keys.items()} == {
            "rsa": ("RS256", "PS256"),
            "pss": ("PS256",),
            "ec": ("ES256",),
            "ed": ("EdDSA",),
        }

    @pytest.mark.parametrize(
        "members",
        [
            {"use": "enc"},
            {"use": 1},
            {"key_ops": ["sign"]},
            {"key_ops": "verify"},
            {"alg": "RSA-OAEP"},
            {"alg": "RS512"},
            {"alg": "HS256"},
            {"alg": "none"},
            {"alg": "ES256"},
            {"alg": ["RS256"]},
            {"kty": "oct", "k": "c2VjcmV0"},
            {"kty": "unknown"},
            {"kty": None},
            {"kty": ["RSA"]},
            {"crv": "P-256"},
            {"kid": None},
            {"kid": ""},
            {"kid": "k" * 257},
            {"kid": 7},
            {"d": "AQAB"},
            {"n": None},
            {"n": 5},
            {"n": "!"},
            {"n": "A" * 1_000_000},
            {"e": base64url(b"\x01")},
            {"e": base64url(b"\x03")},
            {"e": base64url(b"\x01\x00\x00")},
        ],
    )
    async def test_leaves_out_keys_it_cannot_trust(self, members: dict[str, Any]) -> None:
        assert usable(Signer().jwk(**members)) == set()

    async def test_leaves_out_short_rsa_keys(self) -> None:
        tiny = base64url((2**511 + 111).to_bytes(64))
        assert usable(Signer().jwk(n=tiny), Signer(private=rsa_key("short", 1024)).jwk()) == set()

    async def test_leaves_out_rsa_with_exponent_three(self) -> None:
        assert usable(Signer(private=rsa.generate_private_key(3, 2048)).jwk()) == set()

    async def test_leaves_out_other_curves_and_points_off_the_curve(self) -> None:
        other = Signer("p384", "ES384", ec.generate_private_key(ec.SECP384R1()))
        good = Signer("p256", "ES256", ec.generate_private_key(ec.SECP256R1()))
        zero = base64url(bytes(32))
        assert (
            usable(other.jwk(), other.jwk(alg=None), good.jwk(x=zero, y=zero), good.jwk(crv="P-384")) == set()
        )

    async def test_keeps_the_good_keys_beside_bad_ones(self) -> None:
        assert usable("text", None, [], OLD.jwk(use="enc", kid="enc"), OLD.jwk(), NEW.jwk(use=None)) == {
            "old",
            "new",
        }

    async def test_the_first_key_of_a_name_counts(self) -> None:
        first = verification_keys({"keys": [OLD.jwk()]})
        assert verification_keys({"keys": [OLD.jwk(), NEW.jwk(kid="old")]}) == first

    @pytest.mark.parametrize("document", [None, [], "keys", {}, {"keys": {}}, {"keys": None}])
    async def test_finds_nothing_in_what_is_no_jwks(self, document: object) -> None:
        assert verification_keys(document) == {}


class TestIssuer:
    async def test_finds_the_jwks_by_discovery(self, issuer: ScriptedIssuer) -> None:
        assert set(await Issuer(Auth(provider="oidc", issuer=issuer.url)).keys()) == {"old"}

    async def test_uses_a_configured_jwks_url_instead(self, issuer: ScriptedIssuer) -> None:
        auth = Auth(provider="oidc", issuer="http://keycloak.invalid/realms/x", jwks_url=issuer.url + JWKS)
        assert set(await Issuer(auth).keys()) == {"old"}
        assert issuer.requests[DISCOVERY] == 0

    @pytest.mark.parametrize(
        "document",
        [
            {},
            [],
            {"issuer": "{url}/", "jwks_uri": "{url}/jwks"},
            {"issuer": "http://other.invalid", "jwks_uri": "{url}/jwks"},
            {"issuer": "{url}"},
            {"issuer": "{url}", "jwks_uri": "file:///etc/hosts"},
            {"issuer": "{url}", "jwks_uri": "/jwks"},
            {"issuer": "{url}", "jwks_uri": ["{url}/jwks"]},
        ],
    )
    async def test_refuses_the_discovery_of_another_issuer(
        self, issuer: ScriptedIssuer, document: object
    ) -> None:
        issuer.scripts[DISCOVERY] = reply(json.dumps(document).replace("{url}", issuer.url))
        with pytest.raises(UnusableAnswerError):
            await Issuer(Auth(provider="oidc", issuer=issuer.url)).keys()
        assert issuer.requests[JWKS] == 0

    @pytest.mark.parametrize("path", [DISCOVERY, JWKS])
    async def test_follows_no_redirect(self, issuer: ScriptedIssuer, path: str) -> None:
        location = f"location: {issuer.url}/canary\r\n"
        issuer.scripts[path] = reply("", status="302 Found", headers=location)
        with pytest.raises(UnusableAnswerError):
            await Issuer(Auth(provider="oidc", issuer=issuer.url)).keys()
        assert issuer.requests["/canary"] == 0

    async def test_stops_reading_after_one_megabyte(self, issuer: ScriptedIssuer) -> None:
        sent = 0

        async def flood(writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % HUGE)
            while sent < HUGE:
                writer.write(b" " * 65536)
                await writer.drain()
                sent += 65536

        issuer.scripts[JWKS] = flood
        with pytest.raises(UnusableAnswerError, match="more than 1 MB"):
            await Issuer(Auth(provider="oidc", issuer=issuer.url)).keys()
        assert sent < HUGE / 4

    async def test_refuses_a_compressed_answer(self, issuer: ScriptedIssuer) -> None:
        issuer.scripts[JWKS] = reply(b"\x1f\x8b", headers="content-encoding: gzip\r\n")
        with pytest.raises(UnusableAnswerError, match="compressed"):
            await Issuer(Auth(provider="oidc", issuer=issuer.url)).keys()

    async def test_gives_up_on_an_answer_that_trickles(
        self, issuer: ScriptedIssuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("llm_gateway.auth.issuer.FETCH_LIMIT_S", 0.2)

        async def trickle(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)

        issuer.scripts[JWKS] = trickle
        with pytest.raises(UnusableAnswerError, match="TimeoutError"):
            await Issuer(Auth(provider="oidc", issuer=issuer.url)).keys()

    async def test_needs_an_issuer_and_a_readable_ca_file(self) -> None:
        with pytest.raises(ConfigError, match=r"auth\.issuer"):
            Issuer(Auth(provider="keycloak"))
        with pytest.raises(ConfigError, match=r"auth\.ca_file"):
            Issuer(Auth(provider="keycloak", issuer="https://keycloak.invalid", ca_file="missing.pem"))


class TestCache:
    async def test_one_fetch_serves_all_who_wait(self, issuer: ScriptedIssuer) -> None:
        jwks = cached(issuer, Clock())
        keys = await asyncio.gather(*(jwks.key("old") for _ in range(100)))
        assert all(key is not None for key in keys)
        assert issuer.requests[JWKS] == 1
        await jwks.stop()

    async def test_a_thousand_unknown_kids_cause_one_fetch_per_cooldown(
        self, issuer: ScriptedIssuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A fetch may take long on a machine that compiles meanwhile: it is counted here, not timed.
        monkeypatch.setattr("llm_gateway.auth.jwks._WAIT_WITH_KEYS_S", 30.0)
        clock = Clock()
        jwks = cached(issuer, clock)
        for round_ in (1, 2):
            found = await asyncio.gather(*(jwks.key(f"unknown-{number}") for number in range(1000)))
            assert set(found) == {None}
            assert issuer.requests[JWKS] == round_
            clock.now += 9.9
            assert await jwks.key("unknown") is None
            assert issuer.requests[JWKS] == round_
            clock.now += 0.1
        await jwks.stop()

    async def test_a_new_key_works_after_one_fetch(self, issuer: ScriptedIssuer) -> None:
        jwks = cached(issuer, Clock())
        await jwks.start()
        issuer.keys = [NEW.jwk(), OLD.jwk()]
        assert await jwks.key("new") is not None
        assert await jwks.key("old") is not None
        assert issuer.requests[JWKS] == 2
        await jwks.stop()

    async def test_a_withdrawn_key_is_refused_within_the_maximum_age(self, issuer: ScriptedIssuer) -> None:
        max_age_s = 2.0
        changed = asyncio.Event()
        jwks = cached(issuer, Clock(), max_age_s=max_age_s, on_change=changed.set)
        await jwks.start()
        assert await jwks.key("old") is not None
        changed.clear()
        issuer.keys = [NEW.jwk()]
        withdrawn_at = time.monotonic()
        async with asyncio.timeout(10):
            await changed.wait()
        assert time.monotonic() - withdrawn_at < max_age_s
        assert await jwks.key("old") is None
        await jwks.stop()

    @pytest.mark.parametrize(
        "answer",
        [
            reply(json.dumps({"keys": []})),
            reply(json.dumps({"keys": [OLD.jwk(use="enc")]})),
            reply("<html><body>sign in</body></html>", headers="content-type: text/html\r\n"),
            reply("{"),
            reply("[" * 100_000),
            reply(b"\xff\xfe"),
            reply("null"),
            reply(json.dumps({"keys": [NEW.jwk()]}), status="500 Internal Server Error"),
            reply(json.dumps({"keys": [NEW.jwk()]}), status="203 Non-Authoritative Information"),
            reply("", status="302 Found", headers="location: /elsewhere\r\n"),
            reply("", status="204 No Content"),
            reply(b" " * (1024 * 1024 + 1)),
        ],
    )
    async def test_a_good_set_is_never_replaced_by_a_bad_one(
        self, issuer: ScriptedIssuer, answer: Any
    ) -> None:
        jwks = cached(issuer, Clock())
        await jwks.start()
        issuer.scripts[JWKS] = answer
        with pytest.raises(Fault) as caught:
            await jwks.key("unknown")
        assert caught.value.kind == "overloaded"
        assert issuer.requests[JWKS] == 2
        assert await jwks.key("old") is not None
        await jwks.stop()

    async def test_keys_are_kept_while_the_issuer_is_down(self, issuer: ScriptedIssuer) -> None:
        clock = Clock()
        jwks = cached(issuer, clock)
        await jwks.start()
        await issuer.hang_up()
        for _ in range(5):
            clock.now += 3600
            assert await jwks.key("old") is not None
            with pytest.raises(Fault):
                await jwks.key("unknown")
        assert jwks.age_s() == pytest.approx(5 * 3600)
        await jwks.stop()

    async def test_an_unknown_kid_waits_a_quarter_second_for_an_issuer_that_stalls(
        self, issuer: ScriptedIssuer
    ) -> None:
        jwks = cached(issuer, Clock())
        await jwks.start()

        async def stall(_: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        issuer.scripts[DISCOVERY] = stall
        began = time.monotonic()
        outcomes = await asyncio.gather(*(jwks.key("unknown") for _ in range(50)), return_exceptions=True)
        assert time.monotonic() - began < 1.0
        assert all(isinstance(outcome, Fault) for outcome in outcomes)
        assert await jwks.key("old") is not None
        await jwks.stop()

    async def test_starts_while_the_issuer_is_down_and_recovers(self, issuer: ScriptedIssuer) -> None:
        clock = Clock()
        await issuer.hang_up()
        jwks = cached(issuer, clock)
        await jwks.start()
        with pytest.raises(Fault) as caught:
            await jwks.key("old")
        assert (caught.value.kind, caught.value.retry_after_s) == ("overloaded", 5)
        assert jwks.age_s() is None
        await issuer.listen()
        clock.now += 10
        assert await jwks.key("old") is not None
        assert jwks.age_s() == 0
        await jwks.stop()

    async def test_recovers_without_being_asked(self, issuer: ScriptedIssuer) -> None:
        await issuer.hang_up()
        jwks = cached(issuer, Clock())
        await jwks.start()
        await issuer.listen()
        async with asyncio.timeout(5):
            await issuer.asked(JWKS, 1)
        await jwks.stop()

    async def test_a_caller_who_leaves_does_not_stop_the_fetch_for_others(
        self, issuer: ScriptedIssuer
    ) -> None:
        jwks = cached(issuer, Clock())
        leaver = asyncio.create_task(jwks.key("old"))
        stayer = asyncio.create_task(jwks.key("old"))
        await issuer.asked(DISCOVERY, 1)
        leaver.cancel()
        assert await stayer is not None
        await jwks.stop()

    async def test_leaves_no_task_behind(self, issuer: ScriptedIssuer) -> None:
        before = asyncio.all_tasks()
        jwks = cached(issuer, Clock())
        await jwks.start()
        await jwks.stop()
        await issuer.hang_up()
        assert asyncio.all_tasks() == before
