"""A real vLLM, a gateway in front of it, and a free subscriber. `make test-vllm` runs these tests."""

from collections.abc import Iterator

import anthropic
import pytest

from tests.servers.gateway import FREE, Gateway, settings
from tests.vllm.server import UnavailableError, Vllm

_APIS = {"translated": ["openai"], "native": "auto"}


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    """The server of the whole run."""
    try:
        running = Vllm(tmp_path_factory.mktemp("vllm"))
    except UnavailableError as cause:
        pytest.skip(str(cause))
    with running:
        yield running


@pytest.fixture(scope="session", params=_APIS)
def gateway(
    request: pytest.FixtureRequest, vllm: Vllm, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """One that translates everything, and one that finds out that vLLM speaks both APIs."""
    config = settings(vllm.url, tiers={"free": {"quota": [{"limit": 10_000}]}})
    config["upstreams"]["internal"]["apis"] = _APIS[request.param]
    with Gateway(tmp_path_factory.mktemp(request.param), config) as running:
        yield running


@pytest.fixture
def claude(gateway: Gateway) -> Iterator[anthropic.Anthropic]:
    """The SDK of a free subscriber; it asks once."""
    with anthropic.Anthropic(base_url=gateway.url, api_key=FREE, max_retries=0) as client:
        yield client
