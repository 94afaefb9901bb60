import json
import logging
import logging.config
import sys
from datetime import datetime

import pytest

from llm_gateway import log


def line(message: str, *arguments: object, level: int = logging.INFO, **extra: object) -> str:
    record = logging.getLogger("test").makeRecord(
        "test", level, "f", 1, message, arguments, None, extra=extra
    )
    return log.JsonFormatter().format(record)


def test_a_line_is_an_object_with_the_houses_keys() -> None:
    value = json.loads(line("it %s", "happened", level=logging.WARNING, request_id="req_1"))
    assert datetime.fromisoformat(value.pop("ts")).tzinfo
    assert value == {"level": "warning", "event": "it happened", "logger": "test", "request_id": "req_1"}


@pytest.mark.parametrize("text", ['\r\n{"event":"request"}', "\x1b[31mred", "\u2028", "\0", "\ud800", '"'])
def test_no_text_breaks_out_of_its_line(text: str) -> None:
    shown = line("%s", text, model=text)
    assert shown.isascii()
    assert shown.isprintable()
    value = json.loads(shown)
    assert (value["event"], value["model"]) == (text, text)


def test_what_is_no_json_is_shown_as_text() -> None:
    assert json.loads(line("x", where={1}))["where"] == "{1}"


def test_an_exception_stays_in_its_line() -> None:
    try:
        raise ValueError("a\nb")
    except ValueError:
        record = logging.getLogger("test").makeRecord(
            "test", logging.ERROR, "f", 1, "failed", (), sys.exc_info()
        )
    shown = log.JsonFormatter().format(record)
    assert "\n" not in shown
    assert "ValueError: a\nb" in json.loads(shown)["exception"]


def test_the_servers_own_lines_go_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        logging.config.dictConfig(log.config("info"))
        logging.getLogger("_granian").info("started")
        logging.getLogger("httpx").info("not wanted")
    finally:
        root.handlers[:], root.level = handlers, level
    (shown,) = capsys.readouterr().err.splitlines()
    assert json.loads(shown)["event"] == "started"
