"""What holds for all tests: what cannot run here is skipped with its reason, and fails where CI=true."""

import os
import shutil
from collections.abc import Generator

import pytest

IN_CI = os.environ.get("CI") == "true"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Granian's loop is asyncio's, so the tests' is too."""
    return "asyncio"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what is marked `requires("program", …)` where one is not installed."""
    needed = [program for mark in item.iter_markers("requires") for program in mark.args]
    missing = [program for program in needed if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Makes a failure of a skip where nothing may be left out."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"not to be skipped with CI=true: {_reason(report).removeprefix('Skipped: ')}"
    return report


def _reason(report: pytest.TestReport) -> str:
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
