"""`llm-gateway explain`: what happens to a request for a model on a tier, and why."""

import json
from urllib.parse import urlsplit

from llm_gateway.config.schema import Settings, Window
from llm_gateway.errors import Fault
from llm_gateway.policy.plan import Plan, Policy


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
    return (_json(plan, hosts) if as_json else _table(plan, hosts)), 0


def _table(plan: Plan, hosts: list[str]) -> str:
    rows = [
        ("asked", f"{plan.asked} on the {plan.tier} tier"),
        ("model", plan.model),
        ("upstream", f"{plan.upstream} ({', '.join(hosts)})"),
        ("name there", plan.wire_model),
        ("APIs", ", ".join(plan.apis)),
        ("quota", "; ".join(map(_window, plan.windows)) or "none"),
        *(("why" if number == 0 else "", reason) for number, reason in enumerate(plan.why)),
    ]
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:<{width}}  {text}" for label, text in rows)


def _json(plan: Plan, hosts: list[str]) -> str:
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
            "windows": [
                {"unit": window.unit, "period": window.period, "limit": window.limit}
                for window in plan.windows
            ],
            "why": plan.why,
        },
        indent=2,
    )


def _refusal(message: str, why: tuple[str, ...], as_json: bool) -> tuple[str, int]:
    if as_json:
        return json.dumps({"served": False, "message": message, "why": why}, indent=2), 1
    return "\n".join([f"refused: {message}", *(f"why: {reason}" for reason in why)]), 1


def _window(window: Window) -> str:
    limit = "unlimited" if window.limit is None else f"{window.limit:,}"
    return f"{limit} {window.unit} per {window.period}"
