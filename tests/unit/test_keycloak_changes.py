"""What `llm-gateway keycloak setup` understands, decides to change, and says of a server that is none."""

import http.server
import ssl
import threading
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.cli import keycloak_arguments
from llm_gateway.cli.keycloak import setup
from llm_gateway.cli.keycloak import wanted as wanted_of
from llm_gateway.cli.keycloak.admin import Account, Admin
from llm_gateway.cli.keycloak.changes import changes, notes
from llm_gateway.cli.keycloak.found import Found
from llm_gateway.cli.keycloak.options import Options
from llm_gateway.cli.keycloak.wanted import Wanted
from llm_gateway.errors import ConfigError
from tests.servers.certificates import Authority

GATEWAY = "https://gateway.example"
WANTED = Wanted(
    realm="staff",
    client_id="llm-gateway",
    gateway_urls=(GATEWAY,),
    tiers=("free", "pro"),
    members=(),
    token_life_s=600,
    account_check=True,
    create_realm=False,
)
ROLES_MAPPER = wanted_of.roles_mapper(WANTED) | {"name": "client roles"}
SCOPES: dict[str, dict[str, Any]] = {
    name: {"name": name, "id": f"id-of-{name}", "protocolMappers": []}
    for name in ("basic", "profile", "email")
} | {"roles": {"name": "roles", "id": "id-of-roles", "protocolMappers": [ROLES_MAPPER]}}


def client(attributes: dict[str, str] | None = None, **members: Any) -> dict[str, Any]:
    """A client that is as wanted, but for these."""
    made = wanted_of.new_client(WANTED)
    made["attributes"] = {**made["attributes"], **(attributes or {})}
    return made | {"id": "id-of-client", "secret": "s" * 40} | members


def found(**members: Any) -> Found:
    """A realm where all is as wanted, but for these."""
    as_wanted = Found(
        realm={"realm": "staff", "defaultSignatureAlgorithm": "RS256"},
        client=client(),
        roles=frozenset({"free", "pro"}),
        scopes=SCOPES,
        default_scopes=frozenset(SCOPES),
        account_roles=frozenset({"view-users"}),
        scope_roles=frozenset({"view-users"}),
    )
    return as_wanted._replace(**members)


def lines(there: Found, wanted: Wanted = WANTED) -> list[str]:
    return [line for change in changes(wanted, there) for line in change.lines]


def test_what_is_as_wanted_needs_no_change() -> None:
    assert lines(found()) == []
    assert notes(WANTED, found()) == []


@pytest.mark.parametrize(
    ("members", "line"),
    [
        ({"enabled": False}, "~ client's enabled: off -> on"),
        ({"publicClient": True}, "~ client's public client: on -> off"),
        ({"bearerOnly": True}, "~ client's bearer only: on -> off"),
        ({"standardFlowEnabled": False}, "~ client's standard flow: off -> on"),
        ({"implicitFlowEnabled": True}, "~ client's implicit flow: on -> off"),
        ({"directAccessGrantsEnabled": True}, "~ client's direct access grants: on -> off"),
        ({"serviceAccountsEnabled": False}, "~ client's service account: off -> on"),
        (
            {"clientAuthenticatorType": "client-jwt"},
            "~ client's client authenticator: client-jwt -> client-secret",
        ),
    ],
)
def test_a_member_that_differs_is_shown_with_its_old_value(members: dict[str, Any], line: str) -> None:
    assert lines(found(client=client(**members))) == [line]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {"oauth2.device.authorization.grant.enabled": "false"},
            ["~ client's device authorization grant: off -> on"],
        ),
        ({"access.token.lifespan": "60"}, ["~ client's access token life in seconds: 60 -> 600"]),
        (
            {"pkce.code.challenge.method": "S256"},
            ["~ client's compulsory PKCE (the device grant has none): S256 -> not set"],
        ),
        (
            {"client.use.lightweight.access.token.enabled": "true"},
            ["~ client's lightweight access tokens: on -> not set"],
        ),
        ({"client.use.lightweight.access.token.enabled": "false"}, []),
        (
            {"access.token.signed.response.alg": "RS512"},
            ["~ client's access tokens signed with: RS512 -> RS256"],
        ),
        ({"access.token.signed.response.alg": "ES256"}, []),
        ({"acr.loa.map": "{}"}, []),
    ],
)
def test_an_attribute_counts_only_where_the_gateway_needs_it(
    attributes: dict[str, str], expected: list[str]
) -> None:
    assert lines(found(client=client(attributes))) == expected


def test_tokens_are_signed_with_an_algorithm_that_the_gateway_admits() -> None:
    realm = {"realm": "staff", "defaultSignatureAlgorithm": "HS512"}
    assert lines(found(realm=realm)) == ["~ client's access tokens signed with: not set -> RS256"]


@pytest.mark.parametrize(
    ("there", "after"),
    [
        (None, f"+##{GATEWAY}/"),
        ("+", f"+##{GATEWAY}/"),
        ("-", f"{GATEWAY}/"),
        ("https://other.example/", f"https://other.example/##{GATEWAY}/"),
    ],
)
def test_uris_of_others_count_as_before(there: str | None, after: str) -> None:
    attributes = {} if there is None else {"post.logout.redirect.uris": there}
    has = client(redirectUris=["https://other.example/back"])
    del has["attributes"]["post.logout.redirect.uris"]
    has["attributes"] |= attributes
    (change,) = changes(WANTED, found(client=has))

    assert change.lines == (
        f"+ client's redirect URI {GATEWAY}/signin/callback",
        f"+ client's post logout redirect URI {GATEWAY}/",
    )
    made = change.make.keywords["change"]  # type: ignore[attr-defined]  # a partial of the writer's method
    assert made.members == {"redirectUris": ["https://other.example/back", f"{GATEWAY}/signin/callback"]}
    assert made.attributes == {"post.logout.redirect.uris": after}


@pytest.mark.parametrize("secret", [None, "", "secret", "${OIDC_CLIENT_SECRET}"])
def test_a_secret_that_can_be_guessed_is_renewed_and_never_shown(secret: str | None) -> None:
    assert lines(found(client=client(secret=secret))) == [
        "~ client's secret: one that can be guessed (hidden) -> a new one"
    ]


def test_a_mapper_of_any_name_will_do_and_one_that_does_nothing_will_not() -> None:
    named = wanted_of.audience_mapper(WANTED) | {"name": "of somebody else"}
    assert lines(found(client=client(protocolMappers=[named]))) == []

    of_another = named | {"config": named["config"] | {"included.client.audience": "other"}}
    silent = named | {"config": named["config"] | {"access.token.claim": "false"}}
    for mapper in (of_another, silent):
        assert lines(found(client=client(protocolMappers=[mapper]))) == ["+ mapper gateway-audience"]


@pytest.mark.parametrize(
    "config",
    [
        {"claim.name": "roles"},
        {"multivalued": "false"},
        {"access.token.claim": "false"},
        {"usermodel.clientRoleMapping.clientId": "other"},
        {"usermodel.clientRoleMapping.rolePrefix": "gw-"},
    ],
)
def test_roles_that_would_not_be_where_the_gateway_looks_get_a_mapper(config: dict[str, str]) -> None:
    mapper = ROLES_MAPPER | {"config": ROLES_MAPPER["config"] | config}
    scopes = SCOPES | {"roles": SCOPES["roles"] | {"protocolMappers": [mapper]}}
    assert lines(found(scopes=scopes)) == ["+ mapper gateway-roles"]


def test_scopes_that_a_sign_in_asks_for_are_given_if_the_realm_has_them() -> None:
    assert lines(found(default_scopes=frozenset({"roles"}), optional_scopes=frozenset({"email"}))) == [
        "+ scope basic of the client",
        "+ scope profile of the client",
    ]
    without = {name: scope for name, scope in SCOPES.items() if name != "email"}
    bare = found(scopes=without, default_scopes=frozenset(without))
    assert lines(bare) == []
    assert notes(WANTED, bare) == ["the realm has no scope email; take it out of auth.scopes"]


def test_the_operator_is_told_of_what_is_left_open() -> None:
    open_client = client(
        redirectUris=[f"{GATEWAY}/signin/callback", "http://127.0.0.1:*"], fullScopeAllowed=True
    )
    wild, scope = notes(WANTED, found(client=open_client))
    assert "http://127.0.0.1:* is kept" in wild
    assert scope.startswith("full scope is allowed")


def test_without_a_gateway_url_the_page_is_left_out() -> None:
    wanted = WANTED._replace(gateway_urls=())
    made = wanted_of.new_client(wanted)
    assert made["standardFlowEnabled"] is False
    assert made["redirectUris"] == []
    assert "without --gateway-url" in notes(wanted, Found(realm={"realm": "staff"}, scopes=SCOPES))[0]


def test_a_new_client_offers_no_more_than_is_asked() -> None:
    made = wanted_of.new_client(WANTED._replace(account_check=False))
    assert (made["publicClient"], made["fullScopeAllowed"], made["webOrigins"]) == (False, False, [])
    assert (made["implicitFlowEnabled"], made["directAccessGrantsEnabled"]) == (False, False)
    assert made["serviceAccountsEnabled"] is False
    assert "secret" not in made


def options(*words: str) -> Options:
    parser = ArgumentParser()
    keycloak_arguments.add(parser.add_subparsers())
    given = ["keycloak", "setup", "--url", "https://keycloak.example", "--realm", "staff", *words]
    return keycloak_arguments.options(parser.parse_args(given))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--url", "http://keycloak.example"], "expected https"),
        (["--url", "https://keycloak.example/realms/staff"], "without /realms/"),
        (["--url", "keycloak.example"], "expected a URL"),
        (["--url", "https://admin:secret@keycloak.example"], "without a user name, a password"),
        (["--gateway-url", "http://gateway.example"], "expected https"),
        (["--gateway-url", "https://gateway.example/*"], "without *"),
        (["--gateway-url", "https://gateway.example/?a=b"], "expected a URL"),
        (["--realm", "a/b"], "expected letters"),
        (["--tiers", "free,,pro"], "expected letters"),
        (["--tier-of", "petra"], "expected USER=TIER"),
        (["--token-life", "5"], "expected 60 to 86400 seconds"),
    ],
)
def test_says_what_to_change_in_the_words(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        options(*words)
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--realm", "master"], "--realm: master is for Keycloak's own administrators"),
        (["--tier-of", "petra=gold"], "not among --tiers"),
        (["--ca-file", "/nowhere/ca.pem"], "--ca-file: cannot be used"),
        (["--secret-file", "/nowhere/secret"], "--secret-file: /nowhere is no folder"),
    ],
)
def test_refuses_before_it_asks_anybody(words: list[str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        options(*words)


def test_http_is_for_loopback_only() -> None:
    for url in ("http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080"):
        assert options("--url", f"{url}/").url == url


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff"])
def test_a_password_file_that_cannot_be_one_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="--password-file"):
        setup.setup(options("--password-file", str(file)))


class TestServersThatAreNone:
    """What is said of a server that is no Keycloak, or cannot be trusted."""

    def complaint(self, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
        password = tmp_path / "password"
        password.write_text("the-password")
        assert setup.setup(options("--url", url, "--password-file", str(password), *words)) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "the-password" not in line
        return str(line)

    def test_an_untrusted_certificate(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        authority = Authority(tmp_path / "authority")
        with server("{}", authority.certify("127.0.0.1")) as url:
            assert "look at --ca-file" in self.complaint(url, tmp_path, capsys)
            trusted = self.complaint(url, tmp_path, capsys, "--ca-file", str(authority.ca_file))
            assert "does not answer as a Keycloak does" in trusted

    @pytest.mark.parametrize("body", ["<html>", "[]", '{"access_token": 1}'])
    def test_another_kind_of_server(
        self, body: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with server(body) as url:
            assert "does not answer as a Keycloak does" in self.complaint(url, tmp_path, capsys)

    def test_a_redirect_is_not_followed(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with server("", status=302) as url:
            assert "a redirect" in self.complaint(url, tmp_path, capsys)

    def test_a_server_error(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with server("<html>", status=503) as url:
            assert "status 503: no reason given" in self.complaint(url, tmp_path, capsys)


def test_an_administrator_may_think_longer_than_a_token_holds() -> None:
    asked: list[str] = []

    class Handler(Quiet):
        def do_POST(self) -> None:
            asked.append("password")
            self.answer(200, f'{{"access_token": "token-{len(asked)}"}}')

        def do_GET(self) -> None:
            is_over = self.headers["authorization"] == "Bearer token-1"
            self.answer(401 if is_over else 200, '{"realm": "staff"}')

    with served(Handler) as url:
        account = Account("admin", "master", lambda: "the-password")
        with Admin(url, ssl.create_default_context(), account, "staff") as admin:
            assert admin.get() == {"realm": "staff"}
    assert asked == ["password", "password"]


class Quiet(http.server.BaseHTTPRequestHandler):
    """Reads what is sent, and logs nothing."""

    def answer(self, status: int, body: str) -> None:
        self.rfile.read(int(self.headers["content-length"] or 0))
        self.send_response(status)
        self.send_header("location", "https://elsewhere.example/")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def server(body: str, tls: ssl.SSLContext | None = None, status: int = 200) -> Iterator[str]:
    """The URL of a server that answers everything with this."""

    class Handler(Quiet):
        def do_POST(self) -> None:
            self.answer(status, body)

    with served(Handler, tls) as url:
        yield url


@contextmanager
def served(handler: type[Quiet], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The URL of a server in a thread of its own."""

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that does not trust us goes away."""

    with Server(("127.0.0.1", 0), handler) as running:
        if tls is not None:
            running.socket = tls.wrap_socket(running.socket, server_side=True)
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http{'' if tls is None else 's'}://127.0.0.1:{running.server_address[1]}"
        finally:
            running.shutdown()
            thread.join()
