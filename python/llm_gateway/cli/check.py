"""`llm-gateway check`: are the settings valid, and does everything they name answer?"""

import asyncio
import ssl
import tempfile

import httpx

from llm_gateway._core import Core
from llm_gateway.auth import authenticator
from llm_gateway.cli import console
from llm_gateway.config.core import core_settings
from llm_gateway.config.schema import Settings, Upstream
from llm_gateway.errors import Fault

_TIMEOUT_S = 5.0


def run(settings: Settings) -> int:
    """Prints a line per dependency; 0 if all answer, 1 if one does not."""
    rows = [("settings", "ok"), *asyncio.run(_states(settings))]
    width = max(len(name) for name, _ in rows)
    for name, state in rows:
        mark = console.good("✓") if state.startswith("ok") else console.bad("✗")
        console.say(f"{mark} {name:<{width}}  {state}")
    return 0 if all(state.startswith("ok") for _, state in rows) else 1


async def _states(settings: Settings) -> list[tuple[str, str]]:
    names = ["auth", "quota store", *(f"upstream {name}" for name in settings.upstreams)]
    checks = [_auth(settings), _store(settings), *map(_upstream, settings.upstreams.values())]
    return list(zip(names, await asyncio.gather(*checks), strict=True))


async def _auth(settings: Settings) -> str:
    asks = authenticator.build(settings)
    await asks.start()
    try:
        return asks.state()
    finally:
        await asks.stop()


async def _store(settings: Settings) -> str:
    with tempfile.TemporaryDirectory() as folder:
        try:
            core = Core(core_settings(settings), folder, 1.0, asyncio.get_running_loop(), Fault)
        except Fault as fault:
            return fault.message
        try:
            return await core.store_state()
        finally:
            await asyncio.to_thread(core.stop)


async def _upstream(upstream: Upstream) -> str:
    states = [await _replica(url, upstream) for url in upstream.urls]
    return next((state for state in states if not state.startswith("ok")), states[0])


async def _replica(url: str, upstream: Upstream) -> str:
    headers = {"anthropic-version": "2023-06-01"}
    if upstream.api_key is not None:
        bearer = upstream.auth == "bearer"
        headers["authorization" if bearer else "x-api-key"] = ("Bearer " if bearer else "") + upstream.api_key
    roots = ssl.create_default_context()
    if upstream.ca_file is not None:
        roots.load_verify_locations(upstream.ca_file)
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False, verify=roots) as client:
            answer = await client.get(f"{url}/v1/models", headers=headers)
    except httpx.HTTPError as error:
        return f"{url} cannot be reached: {type(error).__name__}"
    if answer.status_code in {401, 403}:
        return f"{url} refuses the key"
    return f"ok ({url})"
