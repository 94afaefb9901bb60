import os
from pathlib import Path

import pytest

from llm_gateway.config import folders


def test_a_folder_that_is_there_can_be_used(tmp_path: Path) -> None:
    assert folders.problem_with(str(tmp_path)) is None


def test_one_that_could_be_made_can_be_used_and_is_not_made(tmp_path: Path) -> None:
    assert folders.problem_with(str(tmp_path / "a" / "b")) is None
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_its_place_is_named(tmp_path: Path) -> None:
    place = tmp_path / "taken"
    place.write_text("")

    for folder in (place, place / "below"):
        assert folders.problem_with(str(folder)) == f"{place} is no folder"


def test_a_folder_of_somebody_else_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write anywhere, so the system's word is replaced.
    monkeypatch.setattr(os, "access", lambda *_: False)

    assert folders.problem_with(str(tmp_path / "a")) == f"{tmp_path} may not be written"


def test_a_name_that_is_none_is_explained(tmp_path: Path) -> None:
    problem = folders.problem_with(str(tmp_path / ("x" * 300)))

    assert problem is not None
    assert problem.endswith("File name too long")
