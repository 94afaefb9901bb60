from html.parser import HTMLParser

import pytest

from llm_gateway.pages import page


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def _read(base_url: str) -> _Reader:
    answer = page("/", base_url)
    assert answer
    reader = _Reader()
    reader.feed(answer[2].decode())
    return reader


def test_shows_lines_to_paste_with_the_address_of_this_gateway() -> None:
    text = _read("https://llm.corp.test:8443").text
    assert 'export ANTHROPIC_BASE_URL="https://llm.corp.test:8443"\n' in text
    assert 'OpenAI(base_url="https://llm.corp.test:8443/v1"' in text
    assert '"https://llm.corp.test:8443/quota"' in text
    assert "gateway.example" not in text


def test_an_address_cannot_bring_markup_along() -> None:
    reader = _read('https://x"><script>alert(1)</script>')
    assert "script" not in [tag for tag, _ in reader.tags]
    assert '<script>alert(1)</script>"' in reader.text


def test_needs_no_script_no_inline_style_and_nobody_else() -> None:
    for tag, attributes in _read("https://llm.corp.test").tags:
        assert tag not in ("script", "style", "img", "iframe", "form")
        assert not any(name == "style" or name.startswith("on") for name in attributes)
        assert (attributes.get("href") or "/").startswith("/")
    style = page("/style.css", "https://llm.corp.test")
    assert style
    assert b"url(" not in style[2]
    assert b"@import" not in style[2]


@pytest.mark.parametrize(("path", "kind"), [("/", b"text/html"), ("/style.css", b"text/css")])
def test_every_page_is_fenced_in(path: str, kind: bytes) -> None:
    answer = page(path, "https://llm.corp.test")
    assert answer
    status, headers, body = answer
    sent = dict(headers)
    assert status == 200
    assert sent[b"content-type"].startswith(kind)
    assert sent[b"content-length"] == str(len(body)).encode()
    assert sent[b"content-security-policy"].startswith(
        b"default-src 'none'; style-src 'self'; img-src 'self';"
    )
    assert b"frame-ancestors 'none'" in sent[b"content-security-policy"]
    assert sent[b"x-content-type-options"] == b"nosniff"
    assert sent[b"referrer-policy"] == b"no-referrer"


@pytest.mark.parametrize("path", ["/index.html", "/..", "/style.css/", "", "/v1/messages"])
def test_other_paths_are_no_pages(path: str) -> None:
    assert page(path, "https://llm.corp.test") is None
