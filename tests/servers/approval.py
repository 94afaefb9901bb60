"""A person at Keycloak's device page, without a browser: the pages' own forms, filled in over HTTP."""

from html.parser import HTMLParser
from typing import Self
from urllib.parse import urljoin

import httpx


class Forms(HTMLParser):
    """The forms of a page: where each goes, and its fields."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append((found.get("action", ""), {}))
        elif tag == "input" and self.forms and "name" in found and found.get("type") != "submit":
            self.forms[-1][1][found["name"]] = found.get("value", "")


class Person:
    """Somebody with a Keycloak account and a browser of their own; use it as a context manager."""

    def __init__(self, user: str, password: str | None = None) -> None:
        self._user = user
        self._password = password or f"{user}-password"
        self._http = httpx.Client(
            timeout=30.0,
            trust_env=False,
            follow_redirects=True,
            event_hooks={"response": [self._take_loopback_for_secure]},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def approve(self, verification_uri_complete: str) -> str:
        """Signs in and grants access; returns the last page."""
        return self._answer(verification_uri_complete, {"accept": "Yes"})

    def deny(self, verification_uri_complete: str) -> str:
        """Signs in and presses the cancel button of the page that asks for access; returns the last page."""
        return self._answer(verification_uri_complete, {"cancel": "No"})

    def _take_loopback_for_secure(self, _: httpx.Response) -> None:
        # As browsers do; Keycloak's cookies are for secure connections.
        for cookie in self._http.cookies.jar:
            cookie.secure = False

    def _answer(self, url: str, button: dict[str, str]) -> str:
        page = self._http.get(url)
        credentials = {"username": self._user, "password": self._password}
        consent = self._submit(page, "password", credentials)
        return self._submit(consent, "code", button).text

    def _submit(self, page: httpx.Response, field: str, values: dict[str, str]) -> httpx.Response:
        page.raise_for_status()
        for action, fields in Forms(page.text).forms:
            if field in fields:
                form = {name: value for name, value in fields.items() if name != "rememberMe"}
                answer = self._http.post(urljoin(str(page.url), action), data={**form, **values})
                answer.raise_for_status()
                return answer
        raise RuntimeError(f"no form with the field {field} on {page.url.path}:\n{page.text[:4000]}")
