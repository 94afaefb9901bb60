"""`llm-gateway explain`: what happens to a request for a model on a tier, and why."""

import json
from urllib.parse import urlsplit

import msgspec

from llm_gateway.cli import wording
from llm_gateway.config import profiles
from llm_gateway.config.schema import Apis, Dialect, OnStoreFailure, Settings
from llm_gateway.errors import Fault
from llm_gateway.policy.plan import Plan, Policy

_APIS: dict[Dialect, str] = {"anthropic": "messages", "openai": "chat completions"}
_WITHOUT_STORE: dict[OnStoreFailure, str] = {
    "local": "goes on from the last known counts, with each worker's share of what is left",
    "closed": "requests are refused",
    "open": "requests are let in, and counted afterwards",
}


def explain(settings: Settings, tier: str, model: str, as_json: bool) -> tuple[str, int]:
    """The text to print and the exit status: 0 when the request would be served, 1 when refused."""
    if tier not in settings.tiers:
        return _refusal(f"unknown tier {tier!r}; configured: {', '.join(settings.tiers)}", (), as_json)
    policy = Policy(settings)
    try:
        plan = policy.plan(tier, model)
    except Fault as fault:
        return _refusal(fault.message, policy.reasons(tier, model), as_json)
    hosts = [urlsplit(url).netloc for url in settings.upstreams[plan.upstream].urls]
    wire = profiles.by_key(settings)[plan.profile]["wire"]
    return (_json(plan, hosts, wire) if as_json else _table(plan, hosts, wire)), 0


def _table(plan: Plan, hosts: list[str], wire: dict[str, object]) -> str:
    rows = [
        ("asked", f"{plan.asked} on the {plan.tier} tier"),
        ("model", plan.model),
        ("upstream", f"{plan.upstream} ({', '.join(hosts)})"),
        ("name there", plan.wire_model),
        ("APIs", _apis(plan.apis)),
        ("profile", f"{plan.profile}: {_profile(wire)}"),
        ("body", _body(plan)),
        ("quota", "; ".join(map(wording.window, plan.windows)) or "none"),
        ("counts as", _weights(plan)),
        ("store down", _without_store(plan)),
        *(("why" if number == 0 else "", reason) for number, reason in enumerate(plan.why)),
    ]
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:<{width}}  {text}" for label, text in rows)


def _json(plan: Plan, hosts: list[str], wire: dict[str, object]) -> str:
    return json.dumps(
        {
            "served": True,
            "tier": plan.tier,
            "asked": plan.asked,
            "model": plan.model,
            "upstream": plan.upstream,
            "hosts": hosts,
            "wire_model": plan.wire_model,
            "apis": plan.apis,
            "profile": {"key": plan.profile} | wire,
            "adapt": plan.adapt,
            "windows": [
                {"unit": window.unit, "period": window.period, "limit": window.limit}
                for window in plan.windows
            ],
            "weights": msgspec.to_builtins(plan.weights),
            "on_store_failure": plan.on_store_failure,
            "why": plan.why,
        },
        indent=2,
    )


def _refusal(message: str, why: tuple[str, ...], as_json: bool) -> tuple[str, int]:
    if as_json:
        return json.dumps({"served": False, "message": message, "why": why}, indent=2), 1
    return "\n".join([f"refused: {message}", *(f"why: {reason}" for reason in why)]), 1


def _apis(apis: Apis) -> str:
    if apis == "auto":
        return "the server is asked at start; natively what it speaks, translated what it does not"
    spoken = " and ".join(_APIS[dialect] for dialect in apis)
    return "; ".join(
        f"{name} {'natively' if dialect in apis else f'translated to {spoken}'}"
        for dialect, name in _APIS.items()
    )


def _profile(wire: dict[str, object]) -> str:
    given = [
        f"{name}: {value if isinstance(value, str) else json.dumps(value)}"
        for name, value in wire.items()
        if name != "kind"
    ]
    return f"{wire['kind']}{' but for ' if given else ''}{', '.join(given)}"


def _body(plan: Plan) -> str:
    if not plan.adapt:
        return "not adapted: the model is of the class asked for, or the name is of none"
    return f"adapted: {plan.asked} is of another class, so what {plan.model} cannot do is changed or left out"


def _weights(plan: Plan) -> str:
    weights = plan.weights
    each = "each" if weights.tokens == 1 else f"each as {weights.tokens:g}"
    return f"requests: {weights.requests}, prompts: {weights.prompts}, tokens: {each}"


def _without_store(plan: Plan) -> str:
    if all(window.limit is None for window in plan.windows):
        return "goes on: nothing is limited"
    return f"{plan.on_store_failure}: {_WITHOUT_STORE[plan.on_store_failure]}"
