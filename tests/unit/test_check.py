"""`llm-gateway check` with a core that says what the test wants; the servers that it reaches are real."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from llm_gateway.cli import check
from llm_gateway.cli import core as command_core
from llm_gateway.config.load import load
from llm_gateway.errors import Fault
from tests.servers.gateway import free_port, settings
from tests.servers.scripted import ScriptedUpstream

UNTOLD = "the upstream internal does not say what it speaks"


class Probed:
    """Stands for the core. `speaks` is what each upstream says, `store` what the quota store does; `asked`
    and `ended` are what happened.
    """

    def __init__(self, speaks: dict[str, str]) -> None:
        self.speaks = speaks
        self.store = "ok"
        self.asked: list[str] = []
        self.ended = False

    async def store_state(self) -> tuple[str, bool, float, int, bool]:
        return self.store, True, 0.0, 0, False

    async def probe(self, upstream: str) -> str:
        self.asked.append(upstream)
        if upstream not in self.speaks:
            raise Fault("upstream_error", UNTOLD)
        return self.speaks[upstream]

    def stop(self) -> None:
        self.ended = True


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Probed:
    probed = Probed({"internal": "anthropic and openai (vllm, 8192 tokens)"})
    monkeypatch.setattr(command_core, "Core", lambda *_: probed)
    return probed


def run(
    folder: Path, url: str, capsys: pytest.CaptureFixture[str], about: str = "upstream", **more: str
) -> tuple[list[str], int]:
    """The lines about upstreams, or so, and the exit status; the internal one, at `url` too, has to be asked.

    `more` are sections of the settings.
    """
    config = {"data_dir": str(folder / "data"), **settings(url), **more}
    config["upstreams"]["internal"]["apis"] = "auto"
    file = folder / "gateway.yaml"
    file.write_text(yaml.safe_dump(config))
    status = check.run(load({}, str(file)))
    lines = capsys.readouterr().out.splitlines()
    return [line for line in lines if f" {about} " in line], status


def test_says_what_an_upstream_speaks_that_has_to_be_asked(
    core: Probed, upstream: ScriptedUpstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines, status = run(tmp_path, upstream.url, capsys)

    assert lines == [
        f"✓ upstream internal   ok ({upstream.url}): speaks anthropic and openai (vllm, 8192 tokens)",
        f"✓ upstream anthropic  ok ({upstream.url})",
        f"✓ upstream openai     ok ({upstream.url})",
    ]
    assert (core.asked, core.ended, status) == (["internal"], True, 0)


def test_fails_if_the_upstream_does_not_say(
    core: Probed, upstream: ScriptedUpstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    core.speaks = {}

    lines, status = run(tmp_path, upstream.url, capsys)

    assert lines[0] == f"✗ upstream internal   {UNTOLD}"
    assert (core.ended, status) == (True, 1)


def test_asks_no_upstream_that_is_down(
    core: Probed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = f"http://127.0.0.1:{free_port()}"

    lines, status = run(tmp_path, lost, capsys)

    assert lines[0] == f"✗ upstream internal   {lost} cannot be reached: ConnectError"
    assert (core.asked, status) == ([], 1)


def test_says_why_there_can_be_no_core(
    monkeypatch: pytest.MonkeyPatch,
    upstream: ScriptedUpstream,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object) -> None:
        raise Fault("config", "the folder cannot be written")

    monkeypatch.setattr(command_core, "Core", refuse)

    lines, status = run(tmp_path, upstream.url, capsys)

    assert lines[0] == "✗ upstream internal   the folder cannot be written"
    assert lines[1] == f"✓ upstream anthropic  ok ({upstream.url})"
    assert status == 1


def test_says_that_nothing_can_wait_on_disk_for_the_store(
    core: Probed, upstream: ScriptedUpstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "a-file"
    place.write_text("")

    (line,), status = run(tmp_path, upstream.url, capsys, "quota store", data_dir=str(place))

    assert line.startswith(
        "✓ quota store         ok, but what waits for it while it is down is not kept on disk: "
    )
    assert line.endswith(f"{place} is no folder; set LLM_GATEWAY_DATA_DIR to a folder that may be written")
    assert status == 0


def test_says_what_is_wrong_with_the_store(
    core: Probed, upstream: ScriptedUpstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    core.store = "timeout: no answer within 250 ms"

    (line,), status = run(tmp_path, upstream.url, capsys, "quota store")

    assert (line, status) == ("✗ quota store         timeout: no answer within 250 ms", 1)


def test_makes_nothing_that_the_gateway_could_not_use(
    core: Probed, upstream: ScriptedUpstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, upstream.url, capsys)

    assert not (tmp_path / "data").exists()
