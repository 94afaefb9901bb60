"""Headless Chromium, and what people do in it on Keycloak's own pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

PROGRAM = "chromium"
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_PATIENCE_MS = 30_000


@contextmanager
def browser() -> Iterator[Browser]:
    """A running Chromium; nothing of one outlives it."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=shutil.which(PROGRAM), args=list(_FLAGS))
        try:
            yield running
        finally:
            running.close()


@dataclass
class Tab:
    """A tab in a window of its own: what went wrong in it, and which URLs it asked for."""

    page: Page
    problems: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@contextmanager
def tab(running: Browser, **options: Any) -> Iterator[Tab]:
    """A new window with an empty cookie jar; `options` are those of a browser context."""
    context = running.new_context(**options)
    context.set_default_timeout(_PATIENCE_MS)
    made = Tab(context.new_page())
    made.page.on("console", lambda message: made.problems.append(f"{message.type}: {message.text}"))
    made.page.on("pageerror", lambda error: made.problems.append(str(error)))
    made.page.on("request", lambda request: made.asked.append(request.url))
    try:
        yield made
    finally:
        context.close()


def sign_in(page: Page, user: str, password: str | None = None) -> None:
    """Fills in Keycloak's form, which the page shows."""
    page.fill("#username", user)
    page.fill("#password", password or f"{user}-password")
    page.click("#kc-login")


def approve(page: Page, url: str, user: str) -> None:
    """Signs in at Keycloak's device page and grants access."""
    _answer(page, url, user, "#kc-login")
    page.wait_for_selector("text=Device Login Successful")


def deny(page: Page, url: str, user: str) -> None:
    """Signs in at Keycloak's device page and grants nothing."""
    _answer(page, url, user, "#kc-cancel")
    page.wait_for_load_state()


def _answer(page: Page, url: str, user: str, button: str) -> None:
    page.goto(url)
    sign_in(page, user)
    page.wait_for_selector("text=Grant Access")
    page.click(button)
