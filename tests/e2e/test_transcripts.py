"""Every golden transcript through a running gateway: what the upstream gets, and what the client."""

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.servers.gateway import ENTERPRISE, Gateway
from tests.servers.scripted import ScriptedUpstream
from tests.servers.transcript_gateway import model_of, settings_for, upstream_says
from tests.servers.transcripts import Transcript, alike, transcripts

CASES = transcripts()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, shared_upstream: ScriptedUpstream) -> Iterator[Gateway]:
    """A gateway with an upstream and a model for every case, all of them at one server."""
    with Gateway(tmp_path_factory.mktemp("transcripts"), settings_for(CASES, shared_upstream.url)) as running:
        yield running


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_transcript(case: Transcript, gateway: Gateway, upstream: ScriptedUpstream) -> None:
    if case.upstream_answer is not None:
        upstream.respond(case.upstream_path, upstream_says(case))
    got = httpx.post(
        gateway.url + case.path,
        content=_named(case, case.request),
        headers={"x-api-key": ENTERPRISE, "content-type": "application/json"},
        timeout=20,
    )
    if not case.reaches_the_upstream:
        assert not upstream.requests
    if case.upstream_request is not None:
        (sent,) = upstream.requests
        assert sent.path == case.upstream_path
        assert _text(alike(sent.body)) == _text(case.upstream_request)
    if case.expected is not None:
        assert (got.status_code, _is_stream(got)) == (case.expected.status, case.expected.stream)
        assert _text(alike(got.content)) == _text(alike(_named(case, case.expected.body)))
        for name, value in case.expected.headers.items():
            assert got.headers.get(name) == value, name
    assert got.headers["request-id"].startswith("req_")


def _named(case: Transcript, body: bytes) -> bytes:
    """With the case's own model in the place of the one that all of them ask for."""
    return body.replace(b"client-model", model_of(case).encode())


def _is_stream(answer: httpx.Response) -> bool:
    return answer.headers["content-type"].startswith("text/event-stream")


def _text(body: bytes) -> str:
    """For a readable difference."""
    return body.decode(errors="replace")


def test_every_case_has_a_name_of_its_own_and_is_valid_json() -> None:
    assert len({case.name for case in CASES}) == len(CASES) > 100
    for case in CASES:
        json.loads(case.request)
