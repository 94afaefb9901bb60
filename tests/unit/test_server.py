import logging
from pathlib import Path

import pytest

from llm_gateway import server
from llm_gateway.config.load import load
from llm_gateway.config.schema import Settings

KEYCLOAK = {"AUTH_PROVIDER": "keycloak", "KEYCLOAK_URL": "https://keycloak.example.org/realms/ai-hub"}


class Granian:
    """Stands for the server, which would serve until it is told to end."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def serve(self, **_: object) -> None:
        pass


def settings(data_dir: Path) -> Settings:
    environment = {"QUOTA_REDIS_URL": "redis://host", "LLM_GATEWAY_DATA_DIR": str(data_dir)}
    file = data_dir.parent / "gateway.yaml"
    file.write_text("server: {host: 127.0.0.1, port: 0}")
    return load(KEYCLOAK | environment, str(file))


@pytest.mark.parametrize("writable", [True, False])
def test_warns_once_at_start_if_nothing_can_wait_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, writable: bool
) -> None:
    monkeypatch.setattr(server, "Granian", Granian)
    place = tmp_path / "data"
    if not writable:
        place.write_text("")

    with caplog.at_level(logging.WARNING):
        server.serve(settings(place))

    problems = [(line.getMessage(), vars(line)["problem"]) for line in caplog.records]
    assert problems == ([] if writable else [("journal_unavailable", f"{place} is no folder")])
