"""A gateway for the golden transcripts: an upstream and a model for each case, all of them at one server."""

from collections.abc import Sequence
from typing import Any

from tests.servers.gateway import SUBSCRIBERS
from tests.servers.script import Answer
from tests.servers.transcripts import Transcript


def settings_for(cases: Sequence[Transcript], url: str) -> dict[str, Any]:
    """Settings under which each case has a model of its own, see `model_of`; everybody is served by `url`."""
    upstreams, models = {}, []
    for case in cases:
        profile = dict(case.about["profile"])
        name = model_of(case)
        upstreams[name] = {
            "urls": [url],
            "apis": ["openai"] if case.about["client"] == "anthropic" else ["anthropic"],
            "kind": profile.pop("kind"),
            "profile": profile,
        }
        models.append({"id": name, "class": "case", "upstream": name, "wire": "upstream-model"})
    return {"upstreams": upstreams, "models": models, "subscribers": SUBSCRIBERS}


def model_of(case: Transcript) -> str:
    """What a client asks for to meet this case."""
    return f"case-{case.name.replace('.', '-')}"


def upstream_says(case: Transcript) -> Answer:
    """What the scripted server answers."""
    assert case.upstream_answer is not None
    body, content_type = case.upstream_answer
    headers = {"content-type": content_type, **case.about.get("upstream_headers", {})}
    return Answer(case.about.get("upstream_status", 200), list(headers.items()), [body] if body else [])
