"""The subscriber's page against other sites, forged requests and hostile words."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser

from tests.servers.browser import Tab, sign_in, tab
from tests.servers.gateway import Gateway, free_port, sign_in_settings
from tests.servers.keycloak import SECRETS, Keycloak
from tests.servers.scripted import Answer, ScriptedUpstream

pytestmark = [pytest.mark.keycloak, pytest.mark.requires("chromium"), pytest.mark.timeout(300)]

HTML = {"accept": "text/html"}
HOSTILE = "\"><script>alert(1)</script>'{{7*7}}\u202e"


@pytest.fixture(scope="module")
def gateway(
    keycloak: Keycloak, shared_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    config = configuration(shared_upstream, keycloak.issuer)
    with Gateway(tmp_path_factory.mktemp("strangers"), config) as running:
        yield running


def configuration(upstream: ScriptedUpstream, issuer: str) -> dict[str, Any]:
    auth = {"provider": "keycloak", "issuer": issuer, "client_secret": SECRETS["llm-gateway"]}
    return sign_in_settings(upstream.url, auth)


@pytest.fixture
def member(opened: Tab, gateway: Gateway, keycloak: Keycloak) -> Iterator[Tab]:
    """A tab of somebody who signed in, with a key of the name `mine`."""
    with keycloak.person("pro") as user:
        page = opened.page
        page.goto(gateway.url)
        page.click("text=Sign in")
        sign_in(page, user)
        page.fill("[name=name]", "mine")
        page.click("text=Make a key")
        page.click("text=Back to your page")
        page.wait_for_selector(".keys")
        yield opened


def shows(visited: Tab, upstream: ScriptedUpstream, site: str) -> None:
    """Opens a page of another site in the tab; to a browser, `localhost` is one."""
    html = [("content-type", "text/html")]
    body = f"<!doctype html><h1>another site</h1>{site}".encode()
    upstream.respond("/", Answer(headers=html, chunks=[body], framing="content_length"))
    visited.page.goto(upstream.url.replace("127.0.0.1", "localhost"))


@pytest.mark.parametrize("path", ["/page/keys", "/page/keys/revoke", "/signout"])
def test_a_form_of_another_site_changes_nothing(
    member: Tab, gateway: Gateway, upstream: ScriptedUpstream, path: str
) -> None:
    page = member.page
    csrf = page.get_attribute("[name=csrf] >> nth=0", "value")
    key_id = page.get_attribute(".keys [name=id]", "value")
    fields = {"csrf": csrf, "name": "forged", "days": "1", "id": key_id}
    # As if it knew the session's secrets: what keeps it out is that it is another site.
    hidden = "".join(f'<input type="hidden" name="{name}" value="{value}">' for name, value in fields.items())
    form = f'<form method="post" action="{gateway.url}{path}">{hidden}<button>win a prize</button></form>'
    shows(member, upstream, form)
    with page.expect_navigation() as went:
        page.click("text=win a prize")
    assert went.value is not None
    assert went.value.status == 403
    assert "That did not work" in page.inner_text("h1")
    page.goto(gateway.url)
    assert page.locator("#person").count() == 1
    assert page.locator(".keys > li strong").all_inner_texts() == ["mine"]


def test_no_other_site_can_show_it_in_a_frame(
    member: Tab, gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    shows(member, upstream, f'<iframe src="{gateway.url}/"></iframe>')
    member.page.wait_for_load_state()
    assert f"{gateway.url}/" in member.asked, "the browser asked for it"
    framed = member.page.frames[1]
    framed.wait_for_url("chrome-error:**")  # and shows nothing of it
    assert framed.locator("h1", has_text="LLM Gateway").count() == 0


def test_a_sign_in_that_somebody_else_began_signs_nobody_in(
    opened: Tab, chromium: Browser, gateway: Gateway, keycloak: Keycloak
) -> None:
    """Otherwise a link could have people use, and put their work into, an account that is not theirs."""
    with keycloak.person("pro") as attacker, tab(chromium, java_script_enabled=False) as theirs:
        page = theirs.page
        page.goto(f"{gateway.url}/signin")
        # The code is not used up by them: without the cookie, it is not exchanged.
        page.context.clear_cookies(name="signin")
        sign_in(page, attacker)
        page.wait_for_url(f"{gateway.url}/signin/callback*")
        assert "begun somewhere else" in page.inner_text("main")
        opened.page.goto(page.url)
        assert "begun somewhere else" in opened.page.inner_text("main")
        opened.page.goto(gateway.url)
        assert opened.page.locator("#person").count() == 0


def test_signing_in_leaves_no_cookie_of_before(opened: Tab, gateway: Gateway, keycloak: Keycloak) -> None:
    page = opened.page
    page.context.add_cookies([{"name": "session", "value": "planted", "url": gateway.url}])
    with keycloak.person("pro") as user:
        page.goto(gateway.url)
        assert "Your session has ended" in page.inner_text(".notice")
        page.click("text=Sign in")
        sign_in(page, user)
        page.wait_for_selector("#person")
        (cookie,) = page.context.cookies(gateway.url)
        assert cookie["name"] == "session"
        assert re.fullmatch(r"[\w-]{43}", cookie["value"]), "256 bits of ours"
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
        assert "code=" not in page.url


def test_hostile_names_are_words_and_nothing_else(member: Tab, gateway: Gateway) -> None:
    page = member.page
    name = HOSTILE.removesuffix("\u202e")
    page.fill("[name=name]", name)
    page.click("text=Make a key")
    assert page.inner_text("main strong") == name
    page.click("text=Back to your page")
    assert name in page.locator(".keys > li strong").all_inner_texts()
    row = page.locator(".keys > li", has_text="alert")
    row.locator("summary").click()
    row.get_by_role("button").click()
    row.wait_for(state="detached")
    page.fill("[name=name]", HOSTILE)
    with page.expect_navigation() as went:
        page.click("text=Make a key")
    assert went.value is not None
    assert went.value.status == 400, "a name that turns the text around it is no name"
    assert all("400" in problem for problem in member.problems), member.problems


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/signin/callback?error=" + HOSTILE,
        "/signin/callback?state=%00&code=%ff&error_description=" + HOSTILE,
        "/signin/callback?" + "state=x&" * 200,
    ],
)
@pytest.mark.parametrize("host", ["evil.example", '"><script>alert(1)</script>', "a b\u00ff", ""])
def test_nothing_of_a_request_comes_back_as_markup(gateway: Gateway, path: str, host: str) -> None:
    headers = {**HTML, "host": host, "cookie": f"session={'x' * 300}; signin=\u00ff.\u00ff"}
    encoded = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    answer = httpx.get(gateway.url + path, headers=encoded, trust_env=False)
    assert answer.status_code in (200, 400)
    assert "alert(1)</script>" not in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", ["/page/keys", "/page/keys/revoke", "/signout"])
def test_links_change_nothing(gateway: Gateway, path: str) -> None:
    assert httpx.get(gateway.url + path, headers=HTML, trust_env=False).status_code == 405


@pytest.mark.parametrize(
    ("path", "status"), [("/", 200), ("/signin/callback", 400), ("/style.css", 200), ("/page.js", 200)]
)
def test_every_answer_is_fenced_in(gateway: Gateway, path: str, status: int) -> None:
    answer = httpx.get(gateway.url + path, headers=HTML, trust_env=False)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    if answer.headers["content-type"].startswith("text/html"):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"


def test_a_form_that_is_too_large_is_refused_and_the_next_request_answered(gateway: Gateway) -> None:
    with httpx.Client(base_url=gateway.url, headers=HTML, trust_env=False) as client:
        for headers in ({"origin": "http://evil.example"}, {"origin": gateway.url}):
            answer = client.post("/page/keys", data={"name": "x" * 200_000}, headers=headers)
            assert answer.status_code in (401, 403, 413)
            assert "<h1>" in answer.text
            assert client.get("/").status_code == 200


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/v1/messages", 405), ("/quota", 401)])
def test_a_wrong_way_is_told_to_people_as_a_page_and_to_programs_in_json(
    gateway: Gateway, path: str, status: int
) -> None:
    shown = httpx.get(f"{gateway.url}{path}", headers=HTML, trust_env=False)
    assert (shown.status_code, shown.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    told = httpx.get(f"{gateway.url}{path}", trust_env=False)
    assert told.status_code == status
    assert told.json()["error"]["message"]


def test_over_tls_cookies_are_bound_to_this_host(
    keycloak: Keycloak, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    config = configuration(upstream, keycloak.issuer) | {"server": {"public_url": "https://llm.example"}}
    with Gateway(tmp_path, config) as gateway:
        answer = httpx.get(f"{gateway.url}/signin", headers=HTML, trust_env=False)
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-signin=")
        assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
        assert "redirect_uri=https%3A%2F%2Fllm.example%2Fsignin%2Fcallback" in answer.headers["location"]
        planted = {**HTML, "cookie": "session=planted"}
        shown = httpx.get(gateway.url, headers=planted, trust_env=False)
        assert "session has ended" not in shown.text, "a cookie without the prefix is nobody's"


def test_a_sign_in_without_its_provider_is_refused_in_words(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    config = configuration(upstream, f"http://127.0.0.1:{free_port()}/realms/none")
    with Gateway(tmp_path, config) as gateway:
        told = httpx.get(f"{gateway.url}/signin", headers=HTML, trust_env=False)
        assert told.status_code == 503
        assert int(told.headers["retry-after"]) > 0
        assert "The identity provider does not answer" in told.text
        assert httpx.get(gateway.url, headers=HTML, trust_env=False).status_code == 200
        plain = httpx.get(f"{gateway.url}/signin", trust_env=False)
        assert "identity provider" in plain.json()["error"]["message"]


def test_who_has_no_subscription_can_sign_out_and_come_back_as_somebody_else(
    opened: Tab, gateway: Gateway, keycloak: Keycloak
) -> None:
    page = opened.page
    with keycloak.person(None) as nobody, keycloak.person("pro") as somebody:
        page.goto(gateway.url)
        page.click("text=Sign in")
        sign_in(page, nobody)
        page.wait_for_selector("text=no subscription")
        page.click("text=Sign out")
        page.wait_for_selector("text=Sign in")
        page.click("text=Sign in")
        sign_in(page, somebody)
        assert page.inner_text("#person") == f"{somebody}@example.com"
