"""The subscriber's page where one address stands for two replicas: neither holds anything the other lacks."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from playwright.sync_api import Page

from tests.servers.browser import Tab, sign_in
from tests.servers.caller import Caller
from tests.servers.front import Front
from tests.servers.gateway import Gateway, sign_in_settings
from tests.servers.keycloak import Keycloak
from tests.servers.scripted import ScriptedUpstream
from tests.servers.waiting import eventually

pytestmark = [
    pytest.mark.keycloak,
    pytest.mark.requires("redis-server", "chromium"),
    pytest.mark.timeout(300),
]

HTML = {"accept": "text/html"}
Replicas = tuple[Gateway, Gateway]


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    with Front() as running:
        yield running


@pytest.fixture(scope="module")
def replicas(
    keycloak: Keycloak,
    redis_url: str,
    shared_upstream: ScriptedUpstream,
    front: Front,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Replicas]:
    config = sign_in_settings(
        shared_upstream.url,
        keycloak.auth(),
        quota={"redis_url": redis_url},
        server={"public_url": front.url},
        keys={"pepper": "a pepper of 32 characters or more"},
    )
    folder = tmp_path_factory.mktemp("replicas")
    with Gateway(folder / "one", config) as one, Gateway(folder / "other", config) as other:
        yield one, other


@pytest.fixture
def person(keycloak: Keycloak) -> Iterator[str]:
    with keycloak.person("pro") as user:
        yield user


def led(page: Page, front: Front, replica: Gateway) -> None:
    """Has the page's next request answered by `replica`; the connections that end are not in use then."""
    page.wait_for_load_state("networkidle")
    front.lead_to(replica.port)


def signed_in(page: Page, front: Front, begun_at: Gateway, user: str, ended_at: Gateway | None = None) -> str:
    """Signs in; returns the session's cookie."""
    front.lead_to(begun_at.port)
    page.goto(front.url)
    page.click("text=Sign in")
    page.wait_for_selector("#username")
    if ended_at is not None:
        led(page, front, ended_at)
    sign_in(page, user)
    page.wait_for_selector("#person")
    (value,) = [found["value"] for found in page.context.cookies(front.url) if found["name"] == "session"]
    return value


def view(replica: Gateway, cookie: str) -> str:
    """What a replica shows for that session."""
    shown = httpx.get(replica.url, headers=HTML, cookies={"session": cookie}, timeout=30, trust_env=False)
    assert shown.status_code == 200, shown.text
    return shown.text


@contextmanager
def rotating(keycloak: Keycloak) -> Iterator[None]:
    """Within it, every token is renewed at every view, and a refresh token can be used once."""
    realm = {"revokeRefreshToken": True, "refreshTokenMaxReuse": 0}
    with keycloak.client_attributes("llm-gateway", {"access.token.lifespan": "20"}):
        keycloak.admin("PUT", "", json=realm)
        try:
            yield
        finally:
            keycloak.admin("PUT", "", json={"revokeRefreshToken": False})


def test_a_sign_in_begun_on_one_replica_ends_on_the_other(
    replicas: Replicas, front: Front, opened: Tab, person: str
) -> None:
    one, other = replicas
    cookie = signed_in(opened.page, front, one, person, ended_at=other)
    assert opened.page.inner_text("#person") == f"{person}@example.com"
    assert all(f"{person}@example.com" in view(replica, cookie) for replica in replicas)
    assert opened.problems == []


def test_signing_out_on_one_replica_is_known_to_the_other_at_once(
    replicas: Replicas, front: Front, opened: Tab, person: str
) -> None:
    one, other = replicas
    stolen = signed_in(opened.page, front, one, person)
    assert person in view(other, stolen)
    opened.page.click("text=Sign out")
    opened.page.wait_for_selector("text=Sign in")
    for replica in (other, one):
        shown = view(replica, stolen)
        assert person not in shown
        assert "Your session has ended" in shown


def test_a_form_of_one_replica_is_good_for_the_other_and_a_key_revoked_there_is_refused_here(
    replicas: Replicas, front: Front, opened: Tab, person: str
) -> None:
    one, other = replicas
    page = opened.page
    signed_in(page, front, one, person)
    led(page, front, other)
    page.fill("[name=name]", "shared")
    page.click("text=Make a key")
    key = page.inner_text("#new-key")
    assert [Caller(replica.url, key).ask().status_code for replica in replicas] == [200, 200]

    led(page, front, one)
    page.click("text=Back to your page")
    led(page, front, other)
    page.click("summary")
    page.click("text=for good")
    page.wait_for_selector(".keys", state="detached")
    began = time.monotonic()
    assert Caller(other.url, key).ask().status_code == 401
    eventually(lambda: Caller(one.url, key).ask().status_code == 401, "refused there too", timeout_s=5)
    assert time.monotonic() - began < 1.5
    assert opened.problems == []


def test_views_at_the_same_time_renew_a_token_without_losing_the_session(
    keycloak: Keycloak, replicas: Replicas, front: Front, opened: Tab, person: str
) -> None:
    with rotating(keycloak):
        cookie = signed_in(opened.page, front, replicas[0], person)
        with ThreadPoolExecutor(8) as people:
            for _ in range(3):
                for replica in replicas:
                    shown = list(people.map(view, [replica] * 8, [cookie] * 8))
                    assert all(person in page for page in shown), "renewed once, by one of them"


def test_a_token_that_two_replicas_renew_at_the_same_time_costs_nobody_the_session(
    keycloak: Keycloak, replicas: Replicas, front: Front, opened: Tab, person: str
) -> None:
    with rotating(keycloak):
        cookie = signed_in(opened.page, front, replicas[0], person)
        with ThreadPoolExecutor(2) as people:
            for _ in range(5):
                shown = list(people.map(view, replicas, [cookie] * 2))
                assert all(person in page for page in shown)


def test_the_page_says_in_words_when_the_identity_provider_is_gone(
    keycloak: Keycloak, replicas: Replicas, front: Front, opened: Tab, person: str
) -> None:
    page = opened.page
    with keycloak.client_attributes("llm-gateway", {"access.token.lifespan": "20"}):
        signed_in(page, front, replicas[0], person)
    with keycloak.frozen():
        # Nobody can say whether the person still has an account: neither shown nor signed out.
        assert page.goto(front.url).status == 503  # type: ignore[union-attr]
        assert "the identity provider does not answer" in page.inner_text("main").lower()
    page.goto(front.url)
    assert page.inner_text("#person") == f"{person}@example.com"
