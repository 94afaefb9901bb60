"""Settings of signing in: what is refused, and in which words."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_gateway.config.load import load
from llm_gateway.config.schema import Settings
from llm_gateway.config.signin_consistency import peppers
from llm_gateway.errors import ConfigError

OIDC = {"provider": "oidc", "issuer": "https://issuer.example", "client_secret": "secret"}


@pytest.fixture
def loaded(tmp_path: Path) -> Any:
    def load_it(**sections: Any) -> Settings:
        file = tmp_path / "gateway.yaml"
        file.write_text(yaml.safe_dump({"auth": OIDC, **sections}))
        return load({}, str(file))

    return load_it


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        (
            {"server": {"trusted_proxies": ["proxy.example"]}},
            "server.trusted_proxies[0]: expected an address",
        ),
        ({"keys": {"pepper": "short"}}, "keys.pepper: expected 32 characters or more in each"),
        ({"keys": {"pepper": f"{'x' * 32},short"}}, "keys.pepper: expected 32 characters or more in each"),
        (
            {"keys": {"default_days": 30, "max_days": 7}},
            "keys.default_days: expected at most max_days, which is 7",
        ),
        ({"telemetry": {"url": "ftp://collector"}}, "telemetry.url: expected a URL with http or https"),
        ({"telemetry": {"headers": {"a b": "c"}}}, "telemetry.headers.a b: expected a header"),
        ({"telemetry": {"headers": {"a": "c\nd: e"}}}, "telemetry.headers.a: expected a header"),
        (
            {"auth": OIDC | {"introspect": True, "client_secret": None}},
            "auth.introspect: needs the client's secret",
        ),
        ({"auth": OIDC | {"introspect_s": 16}}, "auth.introspect_s: expected"),
        ({"auth": OIDC | {"leeway_s": 61}}, "auth.leeway_s: expected"),
        ({"auth": OIDC | {"audience": " "}}, "auth.audience: expected a name, found none"),
        ({"auth": OIDC | {"login_notice": "two\nlines"}}, "auth.login_notice: expected one line"),
        ({"auth": OIDC | {"login_notice": "x" * 501}}, "auth.login_notice: expected"),
        ({"auth": OIDC | {"issuers": {"other": {}}}}, "auth.issuers.other.issuer: needed"),
        (
            {"auth": OIDC | {"issuers": {"other": {"issuer": "https://issuer.example"}}}},
            "auth.issuers.other.issuer: is that of auth.issuer; keep one",
        ),
        (
            {
                "auth": OIDC
                | {"issuers": {"other": {"issuer": "https://b.example", "tier_names": {"x": "gold"}}}}
            },
            'auth.issuers.other.tier_names.x: unknown tier "gold"',
        ),
        (
            {"auth": {"provider": "keys", "issuers": {"other": {"issuer": "https://b.example"}}}},
            "auth.issuers: are for the providers keycloak and oidc",
        ),
    ],
)
def test_what_cannot_be_is_refused(loaded: Any, sections: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        loaded(**sections)
    assert any(words in problem for problem in raised.value.problems), raised.value.problems


def test_a_pepper_is_in_no_message(loaded: Any) -> None:
    with pytest.raises(ConfigError) as raised:
        loaded(keys={"pepper": "hunter2"})
    assert "hunter2" not in str(raised.value)


def test_what_is_no_json_is_no_managed_setting(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "subscribers: [{user: a, tier: free, key: b}]\ntiers: {free: {managed_settings: {a: 2026-11-24}}}"
    )
    with pytest.raises(ConfigError, match=r"tiers\.free\.managed_settings: expected what JSON can say"):
        load({}, str(file))


def test_another_issuer_is_for_the_same_client_unless_it_says_so(loaded: Any) -> None:
    others = {"a": {"issuer": "https://a.example"}, "b": {"issuer": "https://b.example", "client_id": "app"}}
    issuers = loaded(auth=OIDC | {"issuers": others}).auth.issuers
    assert (issuers["a"].client_id, issuers["a"].audience) == ("llm-gateway", "llm-gateway")
    assert (issuers["b"].client_id, issuers["b"].audience) == ("app", "app")


def test_peppers_are_in_the_order_of_the_setting(loaded: Any) -> None:
    new, old = "n" * 32, "o" * 40
    assert peppers(loaded(keys={"pepper": f"{new}, {old}"}).keys) == (new, old)
    assert peppers(loaded().keys) == ()
