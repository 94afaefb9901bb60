"""`llm-gateway check --token`: what it says of a token, against an issuer on a real socket."""

import asyncio
import json
from argparse import ArgumentParser
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.cli import check_arguments, check_token
from llm_gateway.config.load import load
from llm_gateway.errors import ConfigError
from tests.servers.issuer import ScriptedIssuer, Signer

pytestmark = pytest.mark.anyio

SIGNER = Signer()


@pytest.fixture
async def issuer() -> AsyncIterator[ScriptedIssuer]:
    async with ScriptedIssuer() as scripted:
        scripted.keys = [SIGNER.jwk()]
        yield scripted


class Explained:
    """What was printed: the verdict, the rows by their label, and the exit status."""

    def __init__(self, text: str, status: int) -> None:
        self.text = text
        self.verdict, *lines = text.splitlines()
        self.status = status
        self.rows: dict[str, list[str]] = {}
        label = ""
        for line in lines:
            label = line[2:11].strip() or label
            self.rows.setdefault(label, []).append(line[13:])


@pytest.fixture
def explain(issuer: ScriptedIssuer, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    async def ask(token: bytes, **auth: Any) -> Explained:
        file = tmp_path / "gateway.yaml"
        file.write_text(json.dumps({"auth": {"provider": "oidc", "issuer": issuer.url, **auth}}))
        status = await asyncio.to_thread(check_token.run, load({}, str(file)), token)
        text = capsys.readouterr().out
        # A token has three parts, of which none is shown.
        assert not any(part in text for part in token.decode().split(".") if len(part) > 8)
        return Explained(text, status)

    return ask


def roles(*names: object) -> dict[str, Any]:
    return {"resource_access": {"llm-gateway": {"roles": [*names]}}}


async def test_says_whose_token_is_admitted_and_on_which_tier(issuer: ScriptedIssuer, explain: Any) -> None:
    said = await explain(SIGNER.token(issuer.claims()))

    assert said.verdict == "✓ admitted as user-1, on the tier pro"
    assert said.status == 0
    assert said.rows["issuer"] == [issuer.url]
    assert said.rows["key"] == ["key-1, for RS256"]
    assert said.rows["audience"] == ["llm-gateway"]
    assert said.rows["issued to"] == ["llm-gateway"]
    assert said.rows["user"] == ["user-1 (auth.user_claim: sub)"]
    assert said.rows["tier"] == [
        "resource_access.llm-gateway.roles: pro → pro",
        "realm_access.roles: nothing",
        "groups: nothing",
        "pro (rank 20)",
    ]


async def test_says_which_of_several_tiers_wins_and_which_name_means_none(
    issuer: ScriptedIssuer, explain: Any
) -> None:
    claims = issuer.claims(**roles("free", "auditor"), groups=["/subscribers/gold", "/pro"])
    said = await explain(SIGNER.token(claims), tier_names={"/subscribers/gold": "enterprise"})

    assert said.verdict == "✓ admitted as user-1, on the tier enterprise"
    assert said.rows["tier"] == [
        "resource_access.llm-gateway.roles: free → free, auditor → no tier",
        "realm_access.roles: nothing",
        "groups: /subscribers/gold → enterprise, /pro → pro",
        "enterprise wins: enterprise (rank 30), pro (rank 20), free (rank 10)",
    ]


async def test_says_why_there_is_no_tier(issuer: ScriptedIssuer, explain: Any) -> None:
    token = SIGNER.token(issuer.claims(**roles("auditor")))

    said = await explain(token)
    assert said.verdict.startswith("✗ refused: no subscription")
    assert said.rows["tier"][0] == "resource_access.llm-gateway.roles: auditor → no tier"
    assert said.rows["tier"][-1] == (
        "no name means a tier: give a role called free, pro, enterprise, or set tier_names or default_tier"
    )
    assert said.status == 1

    said = await explain(token, default_tier="free")
    assert said.verdict == "✓ admitted as user-1, on the tier free"
    assert said.rows["tier"][-1] == "free: the default_tier, since no name means a tier"


@pytest.mark.parametrize(
    ("members", "reason", "label", "text"),
    [
        ({"aud": "other"}, "another audience", "audience", "other; auth.audience wants llm-gateway"),
        ({"aud": None}, "another audience", "audience", "none; auth.audience wants llm-gateway"),
        (
            {"azp": "other"},
            "issued to another client; see auth.authorized_parties",
            "issued to",
            "other; auth.client_id wants llm-gateway",
        ),
        ({"exp": 1}, "expired", "expires", "1970-01-01 00:00:01 UTC"),
        ({"exp": None}, "no exp", "expires", "never said"),
        ({"typ": "ID"}, "not an access token", "kind", "JWT in the header, ID in the claims"),
        ({"iss": "https://other.example"}, "another issuer", "issuer", "https://other.example; auth.issuer"),
    ],
)
async def test_says_why_a_token_is_refused_and_what_would_be_right(
    members: dict[str, Any], reason: str, label: str, text: str, issuer: ScriptedIssuer, explain: Any
) -> None:
    said = await explain(SIGNER.token(issuer.claims(**members)))

    assert said.verdict == f"✗ refused: {reason}"
    assert said.rows[label][0].startswith(text)
    assert said.status == 1


async def test_says_that_a_stranger_signed(issuer: ScriptedIssuer, explain: Any) -> None:
    stranger = Signer("stranger")
    assert (await explain(stranger.token(issuer.claims()))).verdict == "✗ refused: unknown kid"
    forged = stranger.token(issuer.claims(), kid="key-1")
    assert (await explain(forged)).verdict == "✗ refused: signature or encoding: InvalidSignatureError"


async def test_a_token_of_another_issuer_is_read_by_that_ones_settings(
    issuer: ScriptedIssuer, explain: Any
) -> None:
    partner = {"issuer": issuer.url, "claims": ["plan"], "tier_names": {"gold": "pro"}, "audience": "shared"}
    async with ScriptedIssuer() as main:
        main.keys = [Signer("main").jwk()]
        token = SIGNER.token(issuer.claims(aud="shared", plan="gold"))
        said = await explain(token, issuer=main.url, issuers={"partner": partner})

    assert said.verdict == "✓ admitted as partner:user-1, on the tier pro"
    assert said.rows["tier"] == ["plan: gold → pro", "pro (rank 20)"]


async def test_says_that_the_issuer_cannot_be_reached(issuer: ScriptedIssuer, explain: Any) -> None:
    token = SIGNER.token(issuer.claims())
    await issuer.hang_up()

    said = await explain(token)

    assert said.verdict.startswith("✗ refused: sign-in keys cannot be fetched")
    assert said.status == 1


@pytest.mark.parametrize("token", [b"nonsense-of-some-length", b"a.b.c", b"\xc3\xa9\xc3\xa9", b"x" * 8193])
async def test_what_is_no_token_is_refused_without_a_traceback(token: bytes, explain: Any) -> None:
    said = await explain(token)
    assert said.verdict.startswith("✗ refused: ")
    assert said.status == 1


async def test_what_strangers_wrote_does_not_steer_the_terminal(issuer: ScriptedIssuer, explain: Any) -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\u202e"
    members = {"sub": hostile, "aud": hostile, "azp": hostile, "groups": [hostile, hostile * 100]}
    said = await explain(SIGNER.token(issuer.claims(**members), typ="JWT"))

    assert not any(one in said.text for one in ("\x1b", "\x07", "\u202e"))
    assert max(map(len, said.text.splitlines())) < 1000


async def test_claims_of_odd_types_are_shown_as_they_are(issuer: ScriptedIssuer, explain: Any) -> None:
    for odd in (True, -1e300, [1], {"a": 1}, "soon"):
        said = await explain(SIGNER.token(issuer.claims(exp=odd, iat=odd)))
        assert said.verdict.startswith("✗ refused: ")


async def test_a_personal_key_and_a_gateway_without_tokens_are_told_apart(
    issuer: ScriptedIssuer, explain: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "this is a personal key, no token" in (await explain(b"ogw_abcdefgh")).verdict
    file = tmp_path / "keys.yaml"
    file.write_text('{"subscribers": [{"user": "alice", "tier": "free", "key": "a-long-random-key"}]}')
    assert check_token.run(load({}, str(file)), SIGNER.token(issuer.claims())) == 1
    assert "auth.provider is keys" in capsys.readouterr().out


def test_a_token_is_no_argument(capsys: pytest.CaptureFixture[str]) -> None:
    parser = ArgumentParser()
    check_arguments.add(parser.add_subparsers())
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["check", "--token", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"])
    said = capsys.readouterr().err
    assert "write it to standard input" in said
    assert "eyJ" not in said


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_file_without_a_token_is_refused(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "token"
    if content is not None:
        place.write_text(content)
    config = tmp_path / "gateway.yaml"
    config.write_text('{"auth": {"provider": "oidc", "issuer": "https://issuer.example"}}')
    parser = ArgumentParser()
    check_arguments.add(parser.add_subparsers())
    arguments = parser.parse_args(["check", "--config", str(config), "--token-file", str(place)])
    with pytest.raises(ConfigError, match=r"cannot be read|there is no token"):
        arguments.run(arguments)
