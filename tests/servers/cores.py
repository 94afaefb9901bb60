"""Cores over a real store, without a gateway around them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from llm_gateway._core import Core
from llm_gateway.cli.core import opened
from llm_gateway.config.load import load
from llm_gateway.config.schema import Settings


@asynccontextmanager
async def two_cores(folder: Path) -> AsyncIterator[tuple[Settings, tuple[Core, Core]]]:
    """Yields settings by which people sign in, and two workers' cores on one SQLite file in `folder`."""
    environ = {
        "LLM_GATEWAY_DATA_DIR": str(folder),
        "AUTH_PROVIDER": "oidc",
        "KEYCLOAK_URL": "https://a.example",
    }
    settings = load(environ)
    async with opened(settings) as one, opened(settings) as other:
        yield settings, (one, other)
