"""`llm-gateway check`: are the settings valid, and does everything they name answer?"""

import asyncio
import ssl
from contextlib import AsyncExitStack

import httpx

from llm_gateway._core import Core
from llm_gateway.auth import authenticator
from llm_gateway.cli import check_sign_in, console
from llm_gateway.cli.check_state import OK, State
from llm_gateway.cli.core import opened
from llm_gateway.config import folders
from llm_gateway.config.defaults import KEYED_UPSTREAMS
from llm_gateway.config.schema import Settings, Upstream
from llm_gateway.errors import Fault

_TIMEOUT_S = 5.0


def run(settings: Settings) -> int:
    """Prints a line per dependency; 0 if all that is in use answers, 1 if one does not."""
    rows = [("settings", OK), *asyncio.run(_states(settings))]
    width = max(len(name) for name, _ in rows)
    for name, state in rows:
        mark = console.good("✓") if state.well else console.bad("✗")
        console.say(f"{mark} {name:<{width}}  {state.text}")
    return 0 if all(state.well for _, state in rows) else 1


async def _states(settings: Settings) -> list[tuple[str, State]]:
    async with AsyncExitStack() as stack:
        core: Core | Fault
        try:
            core = await stack.enter_async_context(opened(settings))
        except Fault as fault:
            core = fault
        asked = {"auth": _auth(settings)}
        if settings.auth.provider != "keys":
            asked["sign-in"] = check_sign_in.sign_in(settings.auth)
        asked["quota store"] = _store(settings, core)
        if settings.telemetry.url is not None:
            asked["telemetry"] = check_sign_in.telemetry(settings.telemetry)
        for name, upstream in settings.upstreams.items():
            asked[f"upstream {name}"] = _upstream(name, upstream, core)
        states = await asyncio.gather(*asked.values())
    keys = ("personal keys", check_sign_in.personal_keys(settings))
    return [*zip(asked, states, strict=True), keys]


async def _auth(settings: Settings) -> State:
    asks = authenticator.build(settings)
    await asks.start()
    try:
        state = asks.state()
    finally:
        await asks.stop()
    where = f" ({settings.auth.issuer})" if settings.auth.provider != "keys" else ""
    return State(state == "ok", state + where)


async def _store(settings: Settings, core: Core | Fault) -> State:
    if isinstance(core, Fault):
        return State(False, core.message)
    text, *_ = await core.store_state()
    problem = folders.problem_with(folders.journal(settings))
    if text != "ok" or problem is None:
        return State(text == "ok", text)
    advice = "set LLM_GATEWAY_DATA_DIR to a folder that may be written"
    return State(True, f"ok, but what waits for it while it is down is not kept on disk: {problem}; {advice}")


async def _upstream(name: str, upstream: Upstream, core: Core | Fault) -> State:
    if name in KEYED_UPSTREAMS and not upstream.api_key:
        return State(True, "not in use: it has no key, and its models are not offered")
    problems = [problem for url in upstream.urls if (problem := await _problem(url, upstream))]
    if problems:
        return State(False, "; ".join(problems))
    well = f"ok ({', '.join(upstream.urls)})"
    return await _spoken(name, core, well) if upstream.apis == "auto" else State(True, well)


async def _spoken(name: str, core: Core | Fault, well: str) -> State:
    """What an upstream says that it speaks."""
    try:
        if isinstance(core, Fault):
            raise core
        return State(True, f"{well}: speaks {await core.probe(name)}")
    except Fault as fault:
        return State(False, fault.message)


async def _problem(url: str, upstream: Upstream) -> str | None:
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
        return f"{url} {'refuses the key' if upstream.api_key else 'wants a key; set api_key'}"
    # A list of models is not part of every API: any other answer shows that somebody is there.
    return f"{url} answers with status {answer.status_code}" if answer.is_server_error else None
