"""The subscriber's page in a real browser, over a real Keycloak and a real gateway."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from playwright.sync_api import Browser, Page

from tests.servers.browser import Tab, sign_in, tab
from tests.servers.caller import Caller
from tests.servers.gateway import Gateway, settings, sign_in_settings
from tests.servers.keycloak import Keycloak
from tests.servers.scripted import ScriptedUpstream
from tests.servers.waiting import eventually

pytestmark = [
    pytest.mark.keycloak,
    pytest.mark.requires("redis-server", "chromium"),
    pytest.mark.timeout(300),
]

HTML = {"accept": "text/html"}
KEY = re.compile(r"ogw_[0-9A-Za-z]{40,}")


def configuration(keycloak: Keycloak, redis_url: str, upstream: ScriptedUpstream) -> dict[str, Any]:
    sections = {"quota": {"redis_url": redis_url}, "keys": {"pepper": "p" * 32}}
    return sign_in_settings(upstream.url, keycloak.auth(), **sections)


@pytest.fixture(scope="module")
def gateway(
    keycloak: Keycloak,
    redis_url: str,
    shared_upstream: ScriptedUpstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    config = configuration(keycloak, redis_url, shared_upstream)
    with Gateway(tmp_path_factory.mktemp("page"), config) as running:
        yield running


@pytest.fixture
def person(keycloak: Keycloak) -> Iterator[str]:
    with keycloak.person("pro") as user:
        yield user


def signed_in(page: Page, gateway: Gateway, user: str) -> None:
    page.goto(gateway.url)
    page.click("text=Sign in")
    sign_in(page, user)
    page.wait_for_selector("#person")


def form(page: Page, gateway: Gateway) -> tuple[dict[str, str], str]:
    """The cookies of a page, and the proof in its forms."""
    jar = {cookie["name"]: cookie["value"] for cookie in page.context.cookies(gateway.url)}
    return {"session": jar["session"]}, page.get_attribute("[name=csrf] >> nth=0", "value") or ""


def test_a_person_signs_in_sees_their_quota_move_and_uses_a_key_until_they_revoke_it(
    keycloak: Keycloak, gateway: Gateway, opened: Tab, person: str, upstream: ScriptedUpstream
) -> None:
    page = opened.page
    signed_in(page, gateway, person)
    assert page.inner_text("#person") == f"{person}@example.com"
    assert page.inner_text(".count") == "0 of 1,000"

    page.fill("[name=name]", "my <b>laptop</b>")
    page.click("text=Make a key")
    key = page.inner_text("#new-key")
    assert KEY.fullmatch(key)
    assert "ogw_" not in page.url
    for _ in range(3):
        assert Caller(gateway.url, key, "authorization").ask().status_code == 200

    page.click("text=Back to your page")
    eventually(lambda: page.reload() is not None and page.inner_text(".count") == "3 of 1,000", "counted")
    assert "my <b>laptop</b>" in page.inner_text(".keys")
    assert key not in page.content()

    page.click("summary")
    page.click("text=for good")
    page.wait_for_selector(".keys", state="detached")
    assert Caller(gateway.url, key).ask().status_code == 401
    assert key not in gateway.log()

    page.click("text=Sign out")
    page.wait_for_selector("text=Sign in")
    page.click("text=Sign in")
    page.wait_for_selector("#username")  # at Keycloak they are signed out too
    assert opened.problems == []
    assert all(url.startswith((gateway.url, keycloak.base_url)) for url in opened.asked)


def test_a_sign_in_begun_on_one_replica_ends_on_the_other_with_one_session_for_both(
    keycloak: Keycloak,
    redis_url: str,
    upstream: ScriptedUpstream,
    gateway: Gateway,
    opened: Tab,
    person: str,
    tmp_path: Path,
) -> None:
    page, config = opened.page, configuration(keycloak, redis_url, upstream)
    # A browser's cookies are of a host, whatever the port: so it comes back to the other one with them.
    with Gateway(tmp_path, config, environment={"LLM_GATEWAY_PUBLIC_URL": gateway.url}) as first:
        page.goto(first.url)
        page.click("text=Sign in")
        sign_in(page, person)
        page.wait_for_selector("#person")
        assert page.url == f"{gateway.url}/"
        page.goto(first.url)
        assert page.inner_text("#person") == f"{person}@example.com"


def test_all_can_be_read_and_done_without_scripts(chromium: Browser, gateway: Gateway, person: str) -> None:
    with tab(chromium, java_script_enabled=False, viewport={"width": 390, "height": 844}) as plain:
        page = plain.page
        page.goto(gateway.url)
        assert "forceLoginGatewayUrl" in page.inner_text("main")
        assert page.locator("button.copy").count() == 0
        signed_in(page, gateway, person)
        page.fill("[name=name]", "phone")
        page.click("text=Make a key")
        key = page.inner_text("#new-key")
        assert Caller(gateway.url, key).ask().status_code == 200
        page.click("text=Back to your page")
        page.click("summary")
        page.click("text=for good")
        assert Caller(gateway.url, key).ask().status_code == 401


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(
    chromium: Browser, gateway: Gateway, person: str, width: int
) -> None:
    with tab(chromium, viewport={"width": width, "height": 844}) as made:
        signed_in(made.page, gateway, person)
        assert made.page.evaluate("document.documentElement.scrollWidth") <= width
        assert made.page.locator("button.copy").count() == made.page.locator(".paste").count() > 0


def test_copy_buttons_copy(chromium: Browser, gateway: Gateway) -> None:
    with tab(chromium, permissions=["clipboard-read", "clipboard-write"]) as made:
        made.page.goto(gateway.url)
        made.page.click("button.copy >> nth=0")
        made.page.wait_for_selector("text=Copied")
        copied = made.page.evaluate("navigator.clipboard.readText()")
        assert f'"forceLoginGatewayUrl": "{gateway.url}"' in copied


def test_forms_of_other_pages_change_nothing(gateway: Gateway, opened: Tab, person: str) -> None:
    signed_in(opened.page, gateway, person)
    session, csrf = form(opened.page, gateway)
    good = {"csrf": csrf, "name": "mine", "days": "1"}
    forged: list[tuple[dict[str, str], dict[str, str]]] = [
        (good | {"csrf": ""}, {}),
        (good | {"csrf": csrf[:-1] + "x"}, {}),
        ({"name": "mine", "days": "1"}, {}),
        (good, {"origin": "https://evil.example"}),
        (good, {"origin": "null"}),
        (good, {"sec-fetch-site": "cross-site"}),
        (good, {"sec-fetch-site": "same-site"}),
    ]
    for fields, headers in forged:
        for path in ("/page/keys", "/page/keys/revoke", "/signout"):
            answer = httpx.post(
                f"{gateway.url}{path}", data=fields, headers=HTML | headers, cookies=session, trust_env=False
            )
            assert (answer.status_code, answer.headers["content-type"][:9]) == (403, "text/html"), path
    opened.page.reload()
    assert opened.page.locator(".keys").count() == 0
    assert opened.page.locator("#person").count() == 1
    without = httpx.post(f"{gateway.url}/page/keys", data=good, headers=HTML, trust_env=False)
    assert without.status_code == 401
    plain = httpx.post(
        f"{gateway.url}/page/keys",
        data=good,
        cookies=session,
        headers={"origin": "https://e.example"},
        trust_env=False,
    )
    assert plain.json()["error"]["type"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "", "days": "1"}, "name"),
        ({"name": "x" * 101, "days": "1"}, "name"),
        ({"name": "a\nb", "days": "1"}, "name"),
        ({"name": "mine", "days": "0"}, "days"),
        ({"name": "mine", "days": "99999"}, "days"),
        ({"name": "mine", "days": "one"}, "days"),
        ({"name": "mine"}, "days"),
    ],
)
def test_a_key_that_cannot_be_is_refused_in_words(
    gateway: Gateway, opened: Tab, person: str, fields: dict[str, str], words: str
) -> None:
    signed_in(opened.page, gateway, person)
    session, csrf = form(opened.page, gateway)
    answer = httpx.post(
        f"{gateway.url}/page/keys",
        data={"csrf": csrf, **fields},
        headers=HTML,
        cookies=session,
        trust_env=False,
    )
    assert answer.status_code == 400
    assert words in answer.text
    assert "Traceback" not in answer.text


def test_a_cookie_is_worth_nothing_after_signing_out(gateway: Gateway, opened: Tab, person: str) -> None:
    signed_in(opened.page, gateway, person)
    stolen, _ = form(opened.page, gateway)
    opened.page.click("text=Sign out")
    opened.page.wait_for_selector("text=Sign in")
    answer = httpx.get(gateway.url, cookies=stolen, headers=HTML, trust_env=False)
    assert person not in answer.text
    assert "Your session has ended" in answer.text
    assert "session=;" in answer.headers["set-cookie"]


def test_the_store_opens_no_session(
    gateway: Gateway, opened: Tab, person: str, redis_url: str, keycloak: Keycloak
) -> None:
    signed_in(opened.page, gateway, person)
    session, csrf = form(opened.page, gateway)
    with redis.Redis.from_url(redis_url) as store:
        held = b"".join(
            name + b"".join(store.hgetall(name).values()) for name in store.scan_iter("records:*")
        )
    assert b"records:{session" in held
    for secret in (session["session"], csrf, person, "eyJ", "access_token"):
        assert secret.encode() not in held
        assert secret not in gateway.log() or secret == person


def test_a_disabled_person_is_out_when_their_token_is_renewed(
    keycloak: Keycloak, redis_url: str, upstream: ScriptedUpstream, opened: Tab, person: str, tmp_path: Path
) -> None:
    with short_tokens(keycloak), Gateway(tmp_path, configuration(keycloak, redis_url, upstream)) as gateway:
        page = opened.page
        signed_in(page, gateway, person)
        page.reload()
        assert page.locator("#person").count() == 1, "renewed while the account is open"
        keycloak.set_user_enabled(person, False)
        page.reload()
        assert page.locator("#person").count() == 0
        assert "Your session has ended" in page.inner_text(".notice")


def short_tokens(keycloak: Keycloak) -> Any:
    """Within it, tokens of the gateway's client live for less than the page wants them to have left."""
    return keycloak.client_attributes("llm-gateway", {"access.token.lifespan": "20"})


def test_a_sign_in_that_was_cancelled_or_forged_says_so(gateway: Gateway, opened: Tab, person: str) -> None:
    page = opened.page
    for query in ("", "?state=x&code=y", "?error=access_denied&state=x"):
        page.goto(f"{gateway.url}/signin/callback{query}")
        assert "You are not signed in" in page.inner_text("h1")
    page.goto(gateway.url)
    page.click("text=Sign in")
    page.wait_for_selector("#username")
    (cookie,) = [found for found in page.context.cookies(gateway.url) if found["name"] == "signin"]
    state = cookie["value"].partition(".")[0]
    page.goto(f"{gateway.url}/signin/callback?state={state}&error=access_denied")
    assert "cancelled" in page.inner_text("main")
    page.goto(f"{gateway.url}/signin/callback?state={state}&code=stolen")
    assert page.locator("#person").count() == 0


def test_who_has_no_subscription_is_told_so(keycloak: Keycloak, gateway: Gateway, opened: Tab) -> None:
    with keycloak.person(None) as user:
        opened.page.goto(gateway.url)
        opened.page.click("text=Sign in")
        sign_in(opened.page, user)
        opened.page.wait_for_selector(".notice")
        assert "no subscription" in opened.page.inner_text(".notice")


def test_with_configured_keys_the_page_says_how_to_connect_and_nothing_of_signing_in(
    upstream: ScriptedUpstream, opened: Tab, tmp_path: Path
) -> None:
    with Gateway(tmp_path, settings(upstream.url)) as plain:
        opened.page.goto(plain.url)
        assert "sign in" not in opened.page.inner_text("main").lower()
        for path in ("/signin", "/signin/callback"):
            answer = httpx.get(f"{plain.url}{path}", trust_env=False)
            assert answer.status_code == 404
        assert opened.problems == []
