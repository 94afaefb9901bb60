"""What passes as an access token, and what does not; keys, signatures and the issuer's socket are real."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_gateway.auth.oidc import OidcTokens
from llm_gateway.auth.refusal import MESSAGE
from llm_gateway.config.schema import Auth, Tier
from llm_gateway.errors import Fault
from tests.servers.issuer import AUDIENCE, DISCOVERY, JWKS, ScriptedIssuer, Signer, base64url, reply, rsa_key

pytestmark = pytest.mark.anyio

TIERS = {"free": Tier(rank=1), "pro": Tier(rank=2), "enterprise": Tier(rank=3)}
RSA = Signer("rsa")
PSS = Signer("pss", "PS256")
EC = Signer("ec", "ES256", ec.generate_private_key(ec.SECP256R1()))
ED = Signer("ed", "EdDSA", ed25519.Ed25519PrivateKey.generate())
ANY_RSA = Signer("any-rsa")
STRANGER = Signer("rsa", private=rsa_key("stranger"))


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class Desk:
    """An authenticator, its issuer and its clock."""

    def __init__(self, issuer: ScriptedIssuer, **auth: Any) -> None:
        self.issuer = issuer
        self.clock = Clock()
        settings_ = {"provider": "oidc", "issuer": issuer.url, **auth}
        self.tokens = OidcTokens(Auth(**settings_), TIERS, clock=self.clock)

    async def refused(self, token: bytes) -> Fault:
        with pytest.raises(Fault) as caught:
            await self.tokens.authenticate(token)
        return caught.value

    async def is_refused(self, token: bytes) -> bool:
        fault = await self.refused(token)
        assert (fault.kind, fault.message, fault.should_retry) == ("unauthenticated", MESSAGE, False)
        return True

    async def tier(self, **claims: Any) -> str:
        return (await self.tokens.authenticate(RSA.token(self.issuer.claims(**claims)))).tier


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def issuer() -> AsyncIterator[ScriptedIssuer]:
    async with ScriptedIssuer() as scripted:
        scripted.keys = [RSA.jwk(), PSS.jwk(), EC.jwk(), ED.jwk(), ANY_RSA.jwk(alg=None)]
        yield scripted


@pytest.fixture
async def desk(issuer: ScriptedIssuer) -> AsyncIterator[Desk]:
    made = Desk(issuer)
    await made.tokens.start()
    yield made
    await made.tokens.stop()


class TestAdmits:
    @pytest.mark.parametrize("signer", [RSA, PSS, EC, ED], ids=lambda signer: signer.algorithm)
    async def test_the_four_algorithms(self, desk: Desk, signer: Signer) -> None:
        claims = desk.issuer.claims()
        subscriber = await desk.tokens.authenticate(signer.token(claims))
        assert (subscriber.user, subscriber.tier, subscriber.expires_at) == ("user-1", "pro", claims["exp"])

    async def test_ed448_keys(self, desk: Desk) -> None:
        signer = Signer("ed448", "EdDSA", ed448.Ed448PrivateKey.generate())
        desk.issuer.keys = [signer.jwk()]
        await desk.tokens.stop()
        await desk.tokens.start()
        assert await desk.tokens.authenticate(signer.token(desk.issuer.claims()))

    @pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
    async def test_either_rsa_algorithm_for_a_key_that_names_none(self, desk: Desk, algorithm: str) -> None:
        token = Signer(ANY_RSA.kid, algorithm).token(desk.issuer.claims())
        assert (await desk.tokens.authenticate(token)).user == "user-1"

    @pytest.mark.parametrize("typ", [None, "JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"])
    async def test_header_types_of_access_tokens(self, desk: Desk, typ: str | None) -> None:
        assert await desk.tokens.authenticate(RSA.token(desk.issuer.claims(), typ=typ))

    async def test_tokens_without_a_payload_typ(self, desk: Desk) -> None:
        for name in ("scope", "client_id"):
            claims = desk.issuer.claims(typ=None, **{name: AUDIENCE})
            assert await desk.tokens.authenticate(RSA.token(claims))
        claims = desk.issuer.claims(typ=None, nonce="n", at_hash="h")
        assert await desk.tokens.authenticate(RSA.token(claims, typ="at+jwt"))

    @pytest.mark.parametrize("aud", ["llm-gateway", ["llm-gateway"], ["account", "llm-gateway"]])
    async def test_our_audience_alone_or_among_others(self, desk: Desk, aud: object) -> None:
        assert await desk.tokens.authenticate(RSA.token(desk.issuer.claims(aud=aud)))

    async def test_tokens_issued_to_our_client_or_to_nobody_named(self, desk: Desk) -> None:
        for members in ({"azp": None}, {"azp": None, "client_id": AUDIENCE}, {"client_id": AUDIENCE}):
            assert await desk.tokens.authenticate(RSA.token(desk.issuer.claims(**members)))

    async def test_tokens_of_a_client_that_the_settings_name(self, issuer: ScriptedIssuer) -> None:
        desk = Desk(issuer, authorized_parties=("other-app",))
        await desk.tokens.start()
        assert await desk.tokens.authenticate(RSA.token(issuer.claims(azp="other-app")))
        assert await desk.is_refused(RSA.token(issuer.claims(azp="third-app")))
        await desk.tokens.stop()

    async def test_times_within_the_leeway(self, desk: Desk) -> None:
        now = desk.clock.now
        claims = desk.issuer.claims(exp=now - 29, nbf=now + 29, iat=now + 29.5)
        assert await desk.tokens.authenticate(RSA.token(claims))


class TestRefuses:
    @pytest.mark.parametrize(
        "alg", ["none", "None", "nOnE", "", "RS512", "HS256", "rs256", "ES512", None, 7, ["RS256"]]
    )
    async def test_algorithms_outside_the_list(self, desk: Desk, alg: object) -> None:
        assert await desk.is_refused(RSA.token(desk.issuer.claims(), alg=alg))

    @pytest.mark.parametrize("members", [{"alg": "HS512"}, {"kid": "k" * 257}, {"kid": 7}, {"kid": ""}])
    async def test_unusable_headers_without_asking_for_a_key(
        self, desk: Desk, members: dict[str, Any]
    ) -> None:
        before = desk.issuer.requests.total()
        assert await desk.is_refused(RSA.token(desk.issuer.claims(), **{"kid": "unknown", **members}))
        assert desk.issuer.requests.total() == before

    @pytest.mark.parametrize("alg", ["none", "None", "nOnE"])
    async def test_unsigned_tokens(self, desk: Desk, alg: str) -> None:
        head, payload, _ = RSA.token(desk.issuer.claims(), alg=alg).split(b".")
        for signature in (b"", b"AA", b"e30"):
            assert await desk.is_refused(b".".join([head, payload, signature]))

    async def test_hmac_with_the_public_key_as_secret(self, desk: Desk) -> None:
        public = RSA.key().public_key()
        pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        body = base64.b64encode(base64.b64decode(b"".join(pem.splitlines()[1:-1])))
        secrets = {
            "pem": pem,
            "pem without last newline": pem.strip(),
            "re-wrapped pem": b"-----BEGIN PUBLIC KEY-----\n" + body + b"\n-----END PUBLIC KEY-----\n",
            "der": public.public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            ),
            "pkcs1": public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1),
            "jwk": json.dumps(RSA.jwk()).encode(),
            "empty": b"",
        }
        for algorithm, hash_ in (
            ("HS256", hashlib.sha256),
            ("HS384", hashlib.sha384),
            ("HS512", hashlib.sha512),
        ):
            for secret in secrets.values():
                signing_input = RSA.token(desk.issuer.claims(), alg=algorithm).rpartition(b".")[0]
                signature = base64url(hmac.new(secret, signing_input, hash_).digest()).encode()
                assert await desk.is_refused(signing_input + b"." + signature)

    @pytest.mark.parametrize(
        ("signer", "alg"),
        [(RSA, "PS256"), (PSS, "RS256"), (RSA, "ES256"), (EC, "RS256"), (ED, "ES256"), (EC, "EdDSA")],
    )
    async def test_an_algorithm_that_is_not_the_keys_own(self, desk: Desk, signer: Signer, alg: str) -> None:
        assert await desk.is_refused(signer.token(desk.issuer.claims(), alg=alg))
        assert await desk.is_refused(Signer(signer.kid, alg, signer.private).token(desk.issuer.claims()))

    async def test_a_signature_of_another_key(self, desk: Desk) -> None:
        assert await desk.is_refused(STRANGER.token(desk.issuer.claims()))
        assert await desk.is_refused(ANY_RSA.token(desk.issuer.claims(), kid="rsa"))

    async def test_an_ecdsa_signature_of_zeros(self, desk: Desk) -> None:
        signing_input = EC.token(desk.issuer.claims()).rpartition(b".")[0]
        for signature in (bytes(64), bytes(63), b"\x01" * 64, b"\xff" * 64, bytes(72)):
            assert await desk.is_refused(signing_input + b"." + base64url(signature).encode())

    @pytest.mark.parametrize(
        "members",
        [
            {"crit": ["exp"]},
            {"crit": []},
            {"crit": ["b64"], "b64": True},
            {"crit": ["b64"], "b64": False},
            {"b64": False},
            {"b64": True},
            {"jku": "{url}/canary"},
            {"x5u": "{url}/canary"},
            {"jwk": STRANGER.jwk()},
            {"x5c": ["MII="]},
        ],
    )
    async def test_headers_that_say_how_to_check(self, desk: Desk, members: dict[str, Any]) -> None:
        filled = {
            name: value.replace("{url}", desk.issuer.url) if isinstance(value, str) else value
            for name, value in members.items()
        }
        before = desk.issuer.requests.total()
        assert await desk.is_refused(RSA.token(desk.issuer.claims(), **filled))
        assert await desk.is_refused(STRANGER.token(desk.issuer.claims(), **filled))
        assert desk.issuer.requests.total() == before

    @pytest.mark.parametrize(
        "kid",
        [
            None,
            "",
            7,
            ["rsa"],
            {"kid": "rsa"},
            "unknown",
            "../../dev/null",
            "' OR 1=1 --",
            "http://127.0.0.1/k",
            "k" * 257,
        ],
    )
    async def test_kids_that_name_no_key(self, desk: Desk, kid: object) -> None:
        assert await desk.is_refused(RSA.token(desk.issuer.claims(), kid=kid))
        assert set(desk.issuer.requests) <= {DISCOVERY, JWKS}

    @pytest.mark.parametrize("typ", ["", "JOSE", "dpop+jwt", "logout+jwt", "application/json", 1, ["JWT"]])
    async def test_header_types_of_other_tokens(self, desk: Desk, typ: object) -> None:
        assert await desk.is_refused(RSA.token(desk.issuer.claims(), typ=typ))

    @pytest.mark.parametrize(
        "members",
        [
            {"typ": "ID"},
            {"typ": "Refresh"},
            {"typ": "Offline"},
            {"typ": "Logout"},
            {"typ": ""},
            {"typ": ["Bearer"]},
            {"typ": "bearer"},
            {"typ": None},
            {"typ": None, "scope": "openid", "nonce": "n"},
            {"typ": None, "scope": "openid", "at_hash": "h"},
        ],
    )
    async def test_id_and_refresh_tokens(self, desk: Desk, members: dict[str, Any]) -> None:
        assert await desk.is_refused(RSA.token(desk.issuer.claims(**members)))

    async def test_a_null_typ(self, desk: Desk) -> None:
        claims = desk.issuer.claims() | {"typ": None}
        assert await desk.is_refused(RSA.token(claims))

    @pytest.mark.parametrize(
        "members",
        [
            {"iss": None},
            {"iss": "{url}/"},
            {"iss": "{url}/realms/other"},
            {"iss": ["{url}"]},
            {"aud": None},
            {"aud": ""},
            {"aud": "other-app"},
            {"aud": "llm-gateway "},
            {"aud": []},
            {"aud": ["other-app", "account"]},
            {"aud": ["llm-gateway", 1]},
            {"aud": {"llm-gateway": True}},
            {"aud": 1},
            {"azp": "other-app"},
            {"azp": ""},
            {"azp": ["llm-gateway"]},
            {"azp": "other-app", "client_id": "llm-gateway"},
            {"azp": None, "client_id": "other-app"},
            {"sub": None},
            {"sub": ""},
            {"sub": 5},
            {"sub": ["user-1"]},
            {"sub": "u" * 256},
            {"sub": "ü" * 128},
        ],
    )
    async def test_claims_of_another_issuer_audience_or_nobody(
        self, desk: Desk, members: dict[str, Any]
    ) -> None:
        text = json.dumps(desk.issuer.claims(**members)).replace("{url}", desk.issuer.url)
        assert await desk.is_refused(RSA.token(text.encode()))

    @pytest.mark.parametrize(
        "members",
        [
            '"exp": NOW-31',
            '"exp": -1',
            '"exp": 0',
            '"exp": "NOW+300"',
            '"exp": 1e18',
            '"exp": 1e400',
            '"exp": 99999999999999999999999999999',
            '"exp": true',
            '"exp": null',
            '"exp": [NOW+300]',
            '"exp": NaN',
            '"exp": Infinity',
            '"nbf": NOW+60',
            '"nbf": "0"',
            '"nbf": null',
            '"nbf": false',
            '"nbf": 1e18',
            '"iat": NOW+60',
            '"iat": "0"',
            '"iat": null',
            '"iat": {}',
        ],
    )
    async def test_times_that_are_past_future_or_no_times(self, desk: Desk, members: str) -> None:
        now = int(desk.clock.now)
        for offset in (300, 60, -31):
            members = members.replace(f"NOW{offset:+d}", str(now + offset))
        payload = json.dumps(desk.issuer.claims())[:-1] + f", {members}}}"
        assert await desk.is_refused(RSA.token(payload.encode()))

    async def test_a_token_without_exp(self, desk: Desk) -> None:
        assert await desk.is_refused(RSA.token(desk.issuer.claims(exp=None)))

    @pytest.mark.parametrize(
        "payload",
        [b"", b"[]", b"null", b'"text"', b"{", b"\xff", b"[" * 5000, b'{"sub":"\\ud800"}', b"\xef\xbb\xbf{}"],
    )
    async def test_payloads_that_are_no_object(self, desk: Desk, payload: bytes) -> None:
        assert await desk.is_refused(RSA.token(payload))

    async def test_the_same_header_and_signature_over_other_claims(self, desk: Desk) -> None:
        good = RSA.token(desk.issuer.claims())
        assert await desk.tokens.authenticate(good)
        head, _, signature = good.split(b".")
        other = RSA.token(desk.issuer.claims(sub="admin")).split(b".")[1]
        assert await desk.is_refused(b".".join([head, other, signature]))

    async def test_every_second_spelling_of_a_good_token(self, desk: Desk) -> None:
        good = RSA.token(desk.issuer.claims())
        assert await desk.tokens.authenticate(good)
        alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        parts = good.split(b".")
        spellings = [
            good + b"=",
            good + b"==",
            good + b".",
            good + b"\n",
            b" " + good,
            good.replace(b".", b"..", 1),
        ]
        spellings += (
            [good.replace(b"-", b"+").replace(b"_", b"/")] if good.translate(None, b"-_") != good else []
        )
        for position, part in enumerate(parts):
            padded = part + b"=" * (-len(part) % 4)
            if padded != part:
                spellings.append(b".".join([*parts[:position], padded, *parts[position + 1 :]]))
                # Unused bits after the last byte: another letter, the same bytes.
                last = alphabet.index(part[-1:])
                twin = part[:-1] + alphabet[last + 1 : last + 2]
                spellings.append(b".".join([*parts[:position], twin, *parts[position + 1 :]]))
        assert len(spellings) > 8
        for spelling in spellings:
            assert await desk.is_refused(spelling)

    @pytest.mark.parametrize(
        "token",
        [
            b"",
            b".",
            b"..",
            b"a.b.c",
            b"e30.e30.e30",
            b"e30.e30",
            b"a" * 8192,
            b"\x00\xff",
            b"." * 8000,
            base64url(b"[" * 5000).encode() + b".e30.e30",
            base64url(b'"RS256"').encode() + b".e30.e30",
            base64url(b'{"alg":"RS256","kid":"\\ud800"}').encode() + b".e30.e30",
        ],
    )
    async def test_what_is_no_token(self, desk: Desk, token: bytes) -> None:
        assert await desk.is_refused(token)

    async def test_encrypted_tokens(self, desk: Desk) -> None:
        head = base64url(
            json.dumps({"alg": "RSA-OAEP", "enc": "A256GCM", "zip": "DEF", "kid": "rsa"}).encode()
        )
        assert await desk.is_refused(f"{head}.a2V5.aXY.dGV4dA.dGFn".encode())
        assert await desk.is_refused(RSA.token(desk.issuer.claims()) + b".AA.AA")


class TestTier:
    async def test_the_highest_rank_over_all_places_wins(self, desk: Desk) -> None:
        roles = {"llm-gateway": {"roles": ["free", "pro"]}}
        assert await desk.tier(resource_access=roles) == "pro"
        assert await desk.tier(resource_access=roles, groups=["enterprise"]) == "enterprise"
        assert await desk.tier(resource_access=None, realm_access={"roles": ["free"]}, groups="pro") == "pro"

    async def test_a_group_path_counts_as_its_name(self, desk: Desk) -> None:
        assert await desk.tier(resource_access=None, groups=["/enterprise", "/staff"]) == "enterprise"

    @pytest.mark.parametrize(
        "claims",
        [
            {},
            {"groups": []},
            {"groups": ["admins", "/a/pro", "//pro", "PRO", "", "/"]},
            {"groups": {"pro": True}},
            {"groups": [["pro"], None, 3, {"pro": 1}]},
            {"realm_access": ["pro"]},
            {"realm_access": "pro"},
            {"resource_access": {"other": {"roles": ["pro"]}}},
            {"resource_access": {"llm-gateway": ["pro"]}},
            {"groups": "pro enterprise"},
        ],
    )
    async def test_no_tier_is_forbidden(self, desk: Desk, claims: dict[str, Any]) -> None:
        fault = await desk.refused(RSA.token(desk.issuer.claims(resource_access=None) | claims))
        assert (fault.kind, fault.should_retry) == ("forbidden", False)
        assert "no subscription" in fault.message

    async def test_the_default_tier_is_for_those_without(self, issuer: ScriptedIssuer) -> None:
        desk = Desk(issuer, default_tier="free")
        assert await desk.tier(resource_access=None) == "free"
        assert await desk.tier() == "pro"
        await desk.tokens.stop()

    async def test_names_are_mapped_to_tiers(self, issuer: ScriptedIssuer) -> None:
        names = {"team-gold": "enterprise", "/paid/users": "pro", "pro": "enterprise", "lost": "missing"}
        desk = Desk(issuer, tier_names=names)
        assert await desk.tier(resource_access=None, groups=["/team-gold"]) == "enterprise"
        assert await desk.tier(resource_access=None, groups=["/paid/users"]) == "pro"
        assert await desk.tier(resource_access=None, groups=["lost", "free"]) == "free"
        assert await desk.tier(resource_access=None, groups=["pro"]) == "pro"
        await desk.tokens.stop()

    async def test_pointers_reach_client_ids_with_dots_and_names_with_slashes(
        self, issuer: ScriptedIssuer
    ) -> None:
        places = ("resource_access.<client>.roles", "/https:~1~1example.com~1claims/tier", "/a~0b")
        desk = Desk(issuer, client_id="ai.example.com", authorized_parties=(AUDIENCE,), claims=places)
        assert await desk.tier(resource_access={"ai.example.com": {"roles": ["pro"]}}) == "pro"
        assert await desk.tier(**{"https://example.com/claims": {"tier": "enterprise"}}) == "enterprise"
        assert await desk.tier(**{"a~b": ["free"]}) == "free"
        await desk.tokens.stop()

    async def test_the_user_claim_can_be_chosen(self, issuer: ScriptedIssuer) -> None:
        desk = Desk(issuer, user_claim="preferred_username")
        claims = issuer.claims(sub=None, preferred_username="ü" * 127)
        assert (await desk.tokens.authenticate(RSA.token(claims))).user == "ü" * 127
        assert await desk.is_refused(RSA.token(issuer.claims()))
        await desk.tokens.stop()


class TestCache:
    async def test_a_known_token_costs_no_signature_and_no_wait(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        token = RSA.token(desk.issuer.claims())
        first = await desk.tokens.authenticate(token)
        monkeypatch.setattr("llm_gateway.auth.token.verified_claims", None)
        again = desk.tokens.authenticate(token)
        with pytest.raises(StopIteration) as ended:
            again.send(None)
        assert ended.value.value is first

    async def test_a_known_token_is_refused_once_it_expires(self, desk: Desk) -> None:
        claims = desk.issuer.claims()
        token = RSA.token(claims)
        await desk.tokens.authenticate(token)
        desk.clock.now = claims["exp"] + 29.9
        assert await desk.tokens.authenticate(token)
        desk.clock.now = claims["exp"] + 30
        assert await desk.is_refused(token)

    async def test_a_known_token_is_verified_anew_after_the_keys_maximum_age(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        token = RSA.token(desk.issuer.claims(exp=int(desk.clock.now) + 86400))
        await desk.tokens.authenticate(token)
        desk.clock.now += 600
        monkeypatch.setattr("llm_gateway.auth.token._jws", None)
        with pytest.raises(AttributeError):
            await desk.tokens.authenticate(token)

    async def test_a_known_token_is_refused_once_its_key_is_withdrawn(self, desk: Desk) -> None:
        token = RSA.token(desk.issuer.claims())
        await desk.tokens.authenticate(token)
        desk.issuer.keys = [EC.jwk()]
        assert await desk.is_refused(Signer("unknown").token(desk.issuer.claims()))
        assert await desk.is_refused(token)
        assert await desk.tokens.authenticate(EC.token(desk.issuer.claims()))

    async def test_tokens_are_admitted_while_the_issuer_is_down(self, desk: Desk) -> None:
        known, unseen = RSA.token(desk.issuer.claims()), RSA.token(desk.issuer.claims(sub="user-2"))
        await desk.tokens.authenticate(known)
        await desk.issuer.hang_up()
        assert (await desk.tokens.authenticate(known)).user == "user-1"
        assert (await desk.tokens.authenticate(unseen)).user == "user-2"
        assert (await desk.refused(Signer("unknown").token(desk.issuer.claims()))).kind == "overloaded"
        assert desk.tokens.state() == "ok"

    async def test_says_that_keys_are_missing(self, issuer: ScriptedIssuer) -> None:
        issuer.scripts[JWKS] = reply("<html>")
        desk = Desk(issuer)
        await desk.tokens.start()
        assert (desk.tokens.state(), desk.tokens.jwks_age_s()) == ("jwks unavailable", None)
        assert (await desk.refused(RSA.token(issuer.claims()))).kind == "overloaded"
        await desk.tokens.stop()

    async def test_many_tokens_leave_those_in_use_and_do_not_fill_the_memory(
        self, issuer: ScriptedIssuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("llm_gateway.auth.oidc._CACHED_TOKENS", 3)
        desk = Desk(issuer)
        first, *others = (ED.token(issuer.claims(sub=f"user-{number}")) for number in range(8))
        kept = await desk.tokens.authenticate(first)
        for token in others:
            await desk.tokens.authenticate(token)
            assert await desk.tokens.authenticate(first) is kept
        assert len(desk.tokens._cache) == 3
        await desk.tokens.stop()


async def test_logs_why_but_never_the_token(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    tokens = [
        RSA.token(desk.issuer.claims(sub="canary", aud="canary", jti="canary")),
        RSA.token(b'{"canary": canary}'),
        RSA.token(desk.issuer.claims(), kid="canary"),
        STRANGER.token(desk.issuer.claims(sub="canary")),
    ]
    for token in tokens:
        fault = await desk.refused(token)
        assert "canary" not in str(vars(fault))
        assert all(part.decode() not in caplog.text for part in token.split(b".")[1:])
    assert "another audience" in caplog.text
    assert "canary" not in caplog.text


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.mark.parametrize("signer", [RSA, EC, ED], ids=lambda signer: signer.algorithm)
def test_no_mutation_of_a_good_token_authenticates(runner: asyncio.Runner, signer: Signer) -> None:
    issuer = ScriptedIssuer()
    issuer.keys = [RSA.jwk(), EC.jwk(), ED.jwk()]
    runner.run(issuer.listen())
    desk = Desk(issuer, jwks_cooldown_s=3600.0)
    runner.run(desk.tokens.start())
    good = signer.token(issuer.claims())
    assert runner.run(desk.tokens.authenticate(good))
    splice = st.tuples(st.integers(0, len(good)), st.integers(0, 40), st.binary(max_size=40))
    letter = st.tuples(
        st.integers(0, len(good)), st.just(1), st.sampled_from([bytes([c]) for c in b"AQgwz09-_.="])
    )

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.one_of(splice, letter), min_size=1, max_size=3))
    def mutated(edits: list[tuple[int, int, bytes]]) -> None:
        token = good
        for position, length, insert in edits:
            token = token[:position] + insert + token[position + length :]
        if token != good:
            assert runner.run(desk.is_refused(token))

    mutated()
    runner.run(desk.tokens.stop())
    runner.run(issuer.hang_up())
