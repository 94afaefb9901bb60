import hashlib
import json

import pytest

from llm_gateway.asgi.clients import _has
from llm_gateway.config.schema import Tier
from llm_gateway.signin.managed_settings import ManagedSettings

# As JavaScript writes it: JSON.stringify with the keys sorted at every level.
CANONICAL = '{"a":{"b":[1,{"c":null,"d":true}],"ä":"ü"},"env":{"X":"1"},"number":1.5,"z":2}'
SETTINGS = {
    "z": 2.0,
    "env": {"X": "1"},
    "number": 1.5,
    "a": {"ä": "ü", "b": [1, {"d": True, "c": None}]},
}


def test_the_checksum_is_of_the_settings_as_the_client_would_write_them() -> None:
    document = ManagedSettings({"pro": Tier(managed_settings=SETTINGS)}).of("pro")
    assert document is not None
    assert document.checksum == f"sha256:{hashlib.sha256(CANONICAL.encode()).hexdigest()}"
    body = json.loads(document.body)
    assert (body["settings"], body["checksum"]) == (SETTINGS, document.checksum)
    assert CANONICAL.encode() in document.body


def test_the_same_settings_have_the_same_names_and_others_have_others() -> None:
    reordered = dict(reversed(SETTINGS.items()))
    tiers = {
        "a": Tier(managed_settings=SETTINGS),
        "b": Tier(managed_settings=reordered),
        "c": Tier(managed_settings=SETTINGS | {"z": 3}),
        "empty": Tier(managed_settings={}),
    }
    managed = ManagedSettings(tiers)
    assert managed.of("a") == managed.of("b") != managed.of("c")
    empty = managed.of("empty")
    assert empty is not None
    assert json.loads(empty.body)["settings"] == {}


def test_a_tier_without_any_has_no_document() -> None:
    assert ManagedSettings({"free": Tier()}).of("free") is None


@pytest.mark.parametrize(
    ("header", "has"),
    [
        (None, False),
        (b"", False),
        (b"*", False),
        (b'"x"', True),
        (b'W/"x"', True),
        (b'"a", "x"', True),
        (b'"a","b"', False),
        (b"x", False),
    ],
)
def test_a_client_that_has_it_says_so_by_its_tag(header: bytes | None, has: bool) -> None:
    assert _has(header, "x") is has
