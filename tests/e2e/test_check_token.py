"""`llm-gateway check` about signing in, and `check --token`, with a real Keycloak."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers.command import llm_gateway
from tests.servers.gateway import settings
from tests.servers.keycloak import SECRETS, Keycloak
from tests.servers.scripted import ScriptedUpstream

pytestmark = [pytest.mark.keycloak, pytest.mark.timeout(300)]

SECRET = SECRETS["llm-gateway"]


def check(keycloak: Keycloak, folder: Path, *words: str, token: str = "", **auth: Any) -> tuple[str, int]:
    """What `llm-gateway check` printed, and its status; never a token, a secret or a traceback."""
    file = folder / "gateway.yaml"
    upstreams = settings("http://127.0.0.1:9")["upstreams"] if token else auth.pop("upstreams")
    config = {
        "data_dir": str(folder / "data"),
        "auth": {"provider": "keycloak", "issuer": keycloak.issuer, **auth},
        "upstreams": upstreams,
    }
    file.write_text(yaml.safe_dump(config))
    ended = llm_gateway("check", "--config", str(file), *words, stdin=token, timeout_s=60)
    printed = ended.stdout + ended.stderr
    assert SECRET not in printed
    assert not token or not any(part in printed for part in token.split(".") if part)
    return ended.stdout, ended.returncode


def explained(keycloak: Keycloak, folder: Path, token: str, **auth: Any) -> tuple[str, int]:
    return check(keycloak, folder, "--token", "-", token=token, **auth)


def test_explains_the_tier_of_a_real_token(keycloak: Keycloak, tmp_path: Path) -> None:
    printed, status = explained(keycloak, tmp_path, keycloak.token("paula"))

    assert status == 0
    assert printed.startswith(f"✓ admitted as {keycloak.user_id('paula')}, on the tier pro\n")
    assert "resource_access.llm-gateway.roles: pro → pro\n" in printed
    assert f"issuer     {keycloak.issuer}\n" in printed


def test_explains_why_a_real_token_is_refused(keycloak: Keycloak, tmp_path: Path) -> None:
    printed, status = explained(keycloak, tmp_path, keycloak.token("nora"))
    assert status == 1
    assert printed.startswith("✗ refused: no subscription")
    assert "no name means a tier: give a role called free, pro, enterprise" in printed

    tokens = keycloak.grant("paula")
    assert explained(keycloak, tmp_path, tokens["id_token"])[0].startswith("✗ refused: not an access token\n")
    assert explained(keycloak, tmp_path, tokens["refresh_token"])[1] == 1
    foreign = explained(keycloak, tmp_path, keycloak.token("paula", client_id="other-app"))[0]
    assert foreign.startswith("✗ refused: another audience\n")
    assert "auth.audience wants llm-gateway" in foreign
    cut = tokens["access_token"].rpartition(".")
    forged = f"{cut[0]}.{'A' * len(cut[2])}"
    assert explained(keycloak, tmp_path, forged)[0].startswith("✗ refused: signature or encoding")


def test_a_token_in_a_file_is_explained_as_well(keycloak: Keycloak, tmp_path: Path) -> None:
    place = tmp_path / "token"
    place.write_text(f"{keycloak.token('fred')}\n")
    upstreams = settings("http://127.0.0.1:9")["upstreams"]

    printed, status = check(keycloak, tmp_path, "--token-file", str(place), upstreams=upstreams)

    assert status == 0
    assert "on the tier free" in printed


def test_says_that_the_owner_was_disabled_where_the_issuer_is_asked(
    keycloak: Keycloak, tmp_path: Path
) -> None:
    with keycloak.person("pro") as user:
        token = keycloak.token(user)
        asked = {"introspect": True, "client_secret": SECRET}
        assert explained(keycloak, tmp_path, token, **asked)[1] == 0
        keycloak.set_user_enabled(user, False)
        printed, status = explained(keycloak, tmp_path, token, **asked)

    assert printed.startswith("✗ refused: the issuer says that it holds no more")
    assert status == 1


@pytest.mark.parametrize(
    ("auth", "mark", "words"),
    [
        ({"client_secret": SECRET}, "✓", "ok (the client llm-gateway may begin a sign-in)"),
        (
            {"client_secret": SECRET, "introspect": True},
            "✓",
            "ok (the client llm-gateway may begin a sign-in)",
        ),
        ({"client_secret": "a-wrong-secret"}, "✗", "unauthorized_client"),
        ({"client_id": "unheard-of", "client_secret": SECRET}, "✗", "look at OIDC_CLIENT_ID"),
        (
            {"client_id": "other-app", "client_secret": SECRETS["other-app"]},
            "✗",
            "let the client begin device",
        ),
        ({}, "✓", "not in use: the provider wants the client's secret; set OIDC_CLIENT_SECRET"),
    ],
)
def test_says_whether_people_can_sign_in(
    auth: dict[str, Any],
    mark: str,
    words: str,
    keycloak: Keycloak,
    upstream: ScriptedUpstream,
    tmp_path: Path,
) -> None:
    printed, status = check(keycloak, tmp_path, upstreams=settings(upstream.url)["upstreams"], **auth)

    (line,) = [line for line in printed.splitlines() if line[2:].startswith("sign-in ")]
    assert line[0] == mark
    assert words in line
    assert status == (0 if mark == "✓" else 1), printed
