from html.parser import HTMLParser
from typing import Any

import pytest

from llm_gateway.pages import asset, render

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(1)> \u202e'{{ 7*7 }}"
PERSON = {
    "name": "paula@example.com",
    "tier": "pro",
    "windows": [
        {
            "what": "requests per day",
            "used": "820",
            "limit": "1,000",
            "scale": 1000,
            "filled": 820,
            "state": "",
            "resets_at": "2026-11-25T00:00:00Z",
        }
    ],
    "models": ["qwen3-32b"],
    "own_keys": [
        {
            "id": "0123",
            "name": "laptop",
            "created_at": "2026-11-24",
            "expires_at": "2027-02-22",
            "last_used_at": None,
        }
    ],
    "default_days": 90,
    "max_days": 365,
}


class _Reader(HTMLParser):
    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def index(**values: Any) -> _Reader:
    known = {
        "url": "https://llm.corp.test:8443",
        "person": None,
        "csrf": None,
        "can_sign_in": True,
        "notice": None,
        "placeholder": "your key",
        "example_model": "qwen3-32b",
    }
    return _Reader(render("index.html", known | values, is_personal=False)[1])


def test_shows_lines_to_paste_with_the_address_of_this_gateway() -> None:
    text = index().text
    assert 'export ANTHROPIC_BASE_URL="https://llm.corp.test:8443"\n' in text
    assert '"forceLoginGatewayUrl": "https://llm.corp.test:8443"\n' in text
    assert 'base_url="https://llm.corp.test:8443/v1"' in text
    assert '"https://llm.corp.test:8443/quota"' in text


def test_says_nothing_of_signing_in_where_nobody_can() -> None:
    reader = index(can_sign_in=False)
    assert "sign in" not in reader.text.lower()
    assert "login" not in reader.text.lower()
    assert all(attributes.get("href") != "/signin" for _, attributes in reader.tags)


def test_who_has_no_subscription_can_sign_out() -> None:
    reader = index(csrf="csrf-token", notice="You are signed in, but you have no subscription.")
    assert [attributes["action"] for tag, attributes in reader.tags if tag == "form"] == ["/signout"]


def test_shows_a_person_what_is_theirs() -> None:
    reader = index(person=PERSON)
    for text in (
        "paula@example.com",
        "820 of 1,000",
        "2026-11-25 00:00 UTC",
        "qwen3-32b",
        "laptop",
        "never used",
    ):
        assert text in reader.text
    bars = [attributes for tag, attributes in reader.tags if tag == "progress"]
    assert [(bar["value"], bar["max"], bar["aria-label"]) for bar in bars] == [
        ("820", "1000", "requests per day")
    ]


def test_every_form_proves_that_it_is_of_the_session() -> None:
    reader = index(person=PERSON, csrf="csrf-token")
    tokens = [
        tag for tag in reader.tags if tag[1].get("name") == "csrf" and tag[1].get("value") == "csrf-token"
    ]
    forms = [attributes for tag, attributes in reader.tags if tag == "form"]
    assert {form["action"] for form in forms} == {"/signout", "/page/keys", "/page/keys/revoke"}
    assert all(form["method"] == "post" for form in forms)
    assert len(tokens) == len(forms)


@pytest.mark.parametrize(
    ("template", "values"),
    [
        ("message.html", {"title": HOSTILE, "text": HOSTILE, "link": "/", "label": HOSTILE}),
        ("key.html", {"name": HOSTILE, "key": HOSTILE, "expires_at": HOSTILE}),
    ],
)
def test_no_name_can_bring_markup_along(template: str, values: dict[str, str]) -> None:
    _harmless(_Reader(render(template, values, is_personal=True)[1]))


def test_no_name_on_the_page_can_bring_markup_along() -> None:
    keys = [dict.fromkeys(("id", "name", "created_at", "expires_at", "last_used_at"), HOSTILE)]
    person = PERSON | {
        "name": HOSTILE,
        "tier": HOSTILE,
        "models": [HOSTILE],
        "own_keys": keys,
    }
    _harmless(index(url=HOSTILE, person=person, csrf=HOSTILE, notice=HOSTILE, example_model=HOSTILE))


def _harmless(reader: _Reader) -> None:
    assert [attributes for tag, attributes in reader.tags if tag == "script"] == [
        {"src": "/page.js", "defer": None}
    ]
    assert "img" not in [tag for tag, _ in reader.tags]
    assert "{{ 7*7 }}" in reader.text


def test_needs_no_script_no_inline_style_and_nobody_else() -> None:
    for tag, attributes in index(person=PERSON, notice="read this").tags:
        assert tag not in ("style", "img", "iframe")
        assert not any(name == "style" or name.startswith("on") for name in attributes)
        for name in ("href", "src", "action"):
            assert (attributes.get(name) or "/").startswith("/")
    for name in ("style.css", "page.js"):
        assert not any(
            word in asset(name)[1] for word in (b"url(", b"@import", b"http:", b"https:", b"innerHTML")
        )


def test_every_label_and_heading_can_be_found() -> None:
    reader = index(person=PERSON)
    ids = {attributes["id"] for _, attributes in reader.tags if "id" in attributes}
    named = [attributes["aria-labelledby"] for tag, attributes in reader.tags if tag == "section"]
    assert named
    assert set(named) <= ids


@pytest.mark.parametrize(("is_personal", "kept"), [(True, b"no-store"), (False, b"no-cache")])
def test_every_page_is_fenced_in(is_personal: bool, kept: bytes) -> None:
    values = {"title": "a", "text": "b", "link": "/", "label": "c"}
    targets = ("https://keycloak.example",)
    sent = dict(render("message.html", values, is_personal=is_personal, form_targets=targets)[0])
    policy = sent[b"content-security-policy"].decode().split("; ")
    assert policy[:3] == ["default-src 'none'", "script-src 'self'", "style-src 'self'"]
    assert "form-action 'self' https://keycloak.example" in policy
    assert {"frame-ancestors 'none'", "base-uri 'none'"} <= set(policy)
    assert "unsafe" not in str(policy)
    assert sent[b"content-type"] == b"text/html; charset=utf-8"
    assert sent[b"cache-control"] == kept
    assert sent[b"x-content-type-options"] == b"nosniff"
    assert sent[b"referrer-policy"] == b"same-origin"
    assert sent[b"cross-origin-opener-policy"] == b"same-origin"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("style.css", b"text/css"), ("page.js", b"text/javascript"), ("icon.svg", b"image/svg+xml")],
)
def test_files_say_what_they_are(name: str, kind: bytes) -> None:
    headers, body = asset(name)
    assert dict(headers)[b"content-type"].startswith(kind)
    assert dict(headers)[b"x-content-type-options"] == b"nosniff"
    assert body


@pytest.mark.parametrize("name", ["", "index.html", "../__init__.py", "__init__.py"])
def test_other_names_are_no_files(name: str) -> None:
    with pytest.raises(KeyError):
        asset(name)
