"""A worker that is killed takes its own streams with it and nothing else."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException, HTTPResponse
from pathlib import Path

import pytest

from tests.servers.answers import anthropic_stream
from tests.servers.connection import Connection, Reply, ask, chat, get
from tests.servers.gateway import ENTERPRISE, Gateway, settings
from tests.servers.prometheus import Samples, parse
from tests.servers.scripted import Answer, Gate, ScriptedUpstream, WaitFor
from tests.servers.waiting import eventually

PATH = "/v1/messages"
STREAM = anthropic_stream("hello", " there")


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as running:
        yield running


@pytest.fixture
def gateway(upstream: ScriptedUpstream, tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path, settings(upstream.url), workers=2) as running:
        eventually(lambda: len(running.worker_pids()) == 2, "two workers")
        yield running


def serves(pid: int, connection: Connection, port: int) -> bool:
    """Whether a worker holds the other end of a connection to `port`."""
    ends = f":{port:04X} ", f":{connection.own_port:04X} "
    lines = [
        line for line in Path("/proc/net/tcp").read_text().splitlines() if all(end in line for end in ends)
    ]
    (inode,) = (line.split()[9] for line in lines if line.split()[1].endswith(ends[0].strip()))
    return f"socket:[{inode}]" in map(os.readlink, Path(f"/proc/{pid}/fd").iterdir())


def metrics(gateway: Gateway) -> Samples:
    return parse(get(gateway.port, "/metrics").body.decode())


def test_a_killed_worker_is_replaced_and_the_streams_of_others_go_on(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert {reply.status for reply in pool.map(lambda _: ask_one(gateway), range(20))} == {200}
    victim, survivor = gateway.worker_pids()
    gate = Gate()
    upstream.always(PATH, Answer(chunks=[*STREAM[:3], WaitFor(gate), *STREAM[3:]]))
    streams: list[tuple[Connection, HTTPResponse, bool]] = []
    while not {True, False} <= {is_victims for _, _, is_victims in streams}:
        assert len(streams) < 200, "all connections went to one worker"
        connection = Connection(gateway.port)
        connection.post(PATH, chat(stream=True), ENTERPRISE)
        answer = connection.answer()
        assert answer.read(len(STREAM[0])) == STREAM[0]
        streams.append((connection, answer, serves(victim, connection, gateway.port)))

    os.kill(victim, signal.SIGKILL)
    upstream.always(PATH, Answer(chunks=STREAM))
    for _, answer, _ in (entry for entry in streams if entry[2]):
        with pytest.raises((HTTPException, ConnectionError)):
            answer.read()
    gate.open()
    for connection, answer, is_victims in streams:
        if not is_victims:
            assert STREAM[0] + answer.read() == b"".join(STREAM)
        connection.close()

    eventually(lambda: len(set(gateway.worker_pids()) - {victim, survivor}) == 1, "a new worker", 20)
    gateway.wait_until_healthy()
    with ThreadPoolExecutor(8) as pool:
        assert {reply.status for reply in pool.map(lambda _: ask_one(gateway), range(20))} == {200}
    whole = 40 + sum(not is_victims for _, _, is_victims in streams)
    assert metrics(gateway).sum("gateway_requests_total", outcome="complete") == whole
    assert metrics(gateway).sum("gateway_requests_total") == whole
    assert metrics(gateway).sum("gateway_active_streams") == 0


def ask_one(gateway: Gateway) -> Reply:
    return ask(gateway.port, PATH, chat(), ENTERPRISE)
