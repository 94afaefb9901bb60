"""Servers that several files of tests share."""

from collections.abc import Iterator

import pytest
import redis
from playwright.sync_api import Browser

from tests.servers.browser import Tab, browser, tab
from tests.servers.gateway import redis_server
from tests.servers.keycloak import Keycloak, UnavailableError
from tests.servers.scripted import ScriptedUpstream


@pytest.fixture(scope="session")
def keycloak() -> Iterator[Keycloak]:
    """A real Keycloak; the one server of the whole run."""
    try:
        with Keycloak.start() as running:
            yield running
    except UnavailableError as cause:
        pytest.skip(str(cause))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A real browser for a file of tests. Its library has a loop of its own in this thread while it runs: no
    longer than that, or other files could not run theirs.
    """
    with browser() as running:
        yield running


@pytest.fixture
def opened(chromium: Browser) -> Iterator[Tab]:
    """A tab of somebody who has not been anywhere yet."""
    with tab(chromium, viewport={"width": 1280, "height": 900}) as made:
        yield made


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[ScriptedUpstream]:
    """The upstream behind the gateway of a file of tests."""
    with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(shared_upstream: ScriptedUpstream) -> ScriptedUpstream:
    """The same, with no answer set and no request seen."""
    shared_upstream.forget()
    return shared_upstream


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis for a file of tests."""
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def store(redis_url: str) -> Iterator[redis.Redis]:
    """The same, emptied, to look into."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.flushall()
        yield client
