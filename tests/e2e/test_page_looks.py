"""The subscriber's page for every pair of eyes and hands: contrast, small screens, the keyboard, times."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.servers.browser import sign_in, tab
from tests.servers.gateway import Gateway, sign_in_settings
from tests.servers.keycloak import Keycloak
from tests.servers.scripted import ScriptedUpstream

pytestmark = [pytest.mark.keycloak, pytest.mark.requires("chromium"), pytest.mark.timeout(300)]

SCRIPTS = Path(__file__).parents[1] / "fixtures" / "page"
PHONE, SMALLEST, DESK = 390, 320, 1280
# A name without a place to break it, as long as a name can be.
LONG = "x" * 100


@pytest.fixture(scope="module")
def gateway(
    keycloak: Keycloak, shared_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    units = [("requests", "day", 5), ("tokens", "month", 10**12), ("prompts", "week", None)]
    windows = [{"unit": unit, "period": period, "limit": limit} for unit, period, limit in units]
    tiers = {"pro": {"quota": [*windows, {"unit": "concurrent", "limit": 4}]}}
    config = sign_in_settings(shared_upstream.url, keycloak.auth(), tiers=tiers)
    with Gateway(tmp_path_factory.mktemp("looks"), config) as running:
        yield running


@pytest.fixture(scope="module")
def person(keycloak: Keycloak) -> Iterator[str]:
    with keycloak.person("pro") as user:
        yield user


def pages(page: Page, gateway: Gateway, user: str) -> Iterator[str]:
    """Shows every kind of page, one after the other; yields what each is."""
    page.goto(gateway.url)
    yield "signed out"
    page.click("text=Sign in")
    sign_in(page, user)
    page.wait_for_selector("#person")
    page.fill("[name=name]", LONG)
    page.click("text=Make a key")
    page.wait_for_selector("#new-key")
    yield "a new key"
    page.click("text=Back to your page")
    page.click("summary >> nth=0")
    yield "signed in"
    page.goto(f"{gateway.url}/signin/callback")
    yield "something went wrong"


@pytest.mark.parametrize("width", [SMALLEST, PHONE, DESK])
def test_nothing_is_wider_than_the_screen_and_every_target_can_be_hit(
    chromium: Browser, gateway: Gateway, person: str, width: int
) -> None:
    """Source: WCAG 2.2, 1.4.10 (320 pixels) and 2.5.8 (24 pixels)."""
    with tab(chromium, viewport={"width": width, "height": 844}) as made:
        for kind in pages(made.page, gateway, person):
            assert made.page.evaluate("document.documentElement.scrollWidth") <= width, kind
            targets = made.page.locator("button, a, input:not([type=hidden]), summary")
            for target in targets.locator("visible=true").all():
                box = target.bounding_box()
                assert box is not None
                assert min(box["width"], box["height"]) >= 24, (kind, target.inner_text())
                assert box["x"] >= 0, kind
                assert box["x"] + box["width"] <= width, (kind, target.inner_text())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_its_ground(
    chromium: Browser, gateway: Gateway, person: str, scheme: Any
) -> None:
    """Source: WCAG 2.2, 1.4.3 (AA)."""
    faint = (SCRIPTS / "faint_text.js").read_text()
    with tab(chromium, color_scheme=scheme) as made:
        for kind in pages(made.page, gateway, person):
            seen, found = made.page.evaluate(faint)
            assert seen >= 3, kind
            assert found == [], kind


def test_a_key_is_made_and_revoked_without_a_mouse(chromium: Browser, gateway: Gateway, person: str) -> None:
    with tab(chromium) as made:
        page = made.page
        signed_in(page, gateway, person)
        walk(page, "[name=name]")
        page.keyboard.type("by hand")
        walk(page, "text=Make a key")
        page.keyboard.press("Enter")
        page.wait_for_selector("#new-key")
        walk(page, "text=Back to your page")
        page.keyboard.press("Enter")
        mine = page.locator(".keys > li", has_text="by hand")
        mine.wait_for()
        walk(page, ".keys > li:has-text('by hand') summary")
        page.keyboard.press("Enter")
        walk(page, ".keys > li:has-text('by hand') button")
        page.keyboard.press("Enter")
        mine.wait_for(state="detached")


def signed_in(page: Page, gateway: Gateway, user: str) -> None:
    page.goto(gateway.url)
    page.click("text=Sign in")
    sign_in(page, user)
    page.wait_for_selector("#person")


def walk(page: Page, target: str) -> None:
    """Presses Tab until `target` has the focus; whatever has it on the way shows that."""
    shown = "getComputedStyle(document.activeElement).outlineStyle"
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            continue
        name = page.evaluate("document.activeElement.outerHTML.slice(0, 80)")
        assert page.evaluate(shown) != "none", f"the focus cannot be seen on {name}"
        if page.locator(target).evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"no way to {target} by keyboard")


@pytest.mark.parametrize("has_scripts", [True, False])
def test_resets_are_told_in_the_readers_own_time_or_in_utc(
    chromium: Browser, gateway: Gateway, person: str, has_scripts: bool
) -> None:
    place: dict[str, Any] = {"locale": "en-GB", "timezone_id": "Asia/Kathmandu"}
    with tab(chromium, java_script_enabled=has_scripts, **place) as made:
        signed_in(made.page, gateway, person)
        day = made.page.locator(".windows time").first
        at = datetime.fromisoformat(day.get_attribute("datetime") or "")
        assert at.utcoffset() == datetime.now(UTC).utcoffset()
        if has_scripts:
            assert day.inner_text().endswith("05:45")
        else:
            assert day.inner_text() == f"{at:%Y-%m-%d %H:%M} UTC"


def test_bars_say_to_everybody_what_they_show(chromium: Browser, gateway: Gateway, person: str) -> None:
    with tab(chromium) as made:
        signed_in(made.page, gateway, person)
        names = [bar.get_attribute("aria-label") for bar in made.page.locator("progress").all()]
        assert names == ["requests per day", "tokens per month", "requests at once"]
        assert "0 used, no limit" in made.page.locator(".windows").inner_text()
        assert "of 1,000,000,000,000" in made.page.locator(".windows").inner_text()
