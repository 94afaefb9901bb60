"""Servers that several files of tests share."""

from collections.abc import Iterator

import pytest

from tests.servers.keycloak import Keycloak, UnavailableError


@pytest.fixture(scope="session")
def keycloak() -> Iterator[Keycloak]:
    """A real Keycloak; the one server of the whole run."""
    try:
        with Keycloak.start() as running:
            yield running
    except UnavailableError as cause:
        pytest.skip(str(cause))
