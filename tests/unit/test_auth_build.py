from typing import Any

import pytest

from llm_gateway.auth.authenticator import build
from llm_gateway.auth.keys import ConfiguredKeys
from llm_gateway.auth.oidc import OidcTokens
from llm_gateway.config.schema import (
    Auth,
    Limits,
    Metrics,
    Page,
    PersonalKeys,
    Quota,
    Server,
    Settings,
    Telemetry,
)
from llm_gateway.errors import ConfigError


def settings(**auth: Any) -> Settings:
    return Settings(
        server=Server(),
        auth=Auth(**auth),
        tiers={},
        models=(),
        upstreams={},
        routes=(),
        subscribers=(),
        quota=Quota(),
        limits=Limits(),
        metrics=Metrics(),
        keys=PersonalKeys(),
        page=Page(),
        telemetry=Telemetry(),
        data_dir="data",
    )


@pytest.mark.parametrize(
    ("provider", "kind"), [("keys", ConfiguredKeys), ("keycloak", OidcTokens), ("oidc", OidcTokens)]
)
def test_the_provider_decides(provider: str, kind: type) -> None:
    assert isinstance(build(settings(provider=provider, issuer="https://keycloak.invalid/realms/x")), kind)


@pytest.mark.parametrize("provider", ["keycloak", "oidc"])
def test_tokens_need_an_issuer(provider: str) -> None:
    with pytest.raises(ConfigError, match=r"auth\.issuer"):
        build(settings(provider=provider))
