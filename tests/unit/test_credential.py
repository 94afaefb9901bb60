import pytest

from llm_gateway.auth.credential import credential
from llm_gateway.errors import Fault


def refused(*headers: tuple[bytes, bytes]) -> Fault:
    with pytest.raises(Fault) as caught:
        credential(headers)
    return caught.value


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([(b"authorization", b"Bearer abc")], b"abc"),
        ([(b"authorization", b"bEARER  abc ")], b"abc"),
        ([(b"x-api-key", b"abc")], b"abc"),
        ([(b"host", b"h"), (b"x-api-key", b" abc ")], b"abc"),
    ],
)
def test_finds_the_credential_in_either_header(headers: list[tuple[bytes, bytes]], found: bytes) -> None:
    assert credential(headers) == found


def test_authorization_counts_when_both_headers_are_sent() -> None:
    assert credential([(b"x-api-key", b"key"), (b"authorization", b"Bearer token")]) == b"token"


def test_an_unusable_authorization_is_not_replaced_by_the_api_key() -> None:
    fault = refused((b"x-api-key", b"key"), (b"authorization", b"Basic dTpw"))
    assert fault.kind == "unauthenticated"


@pytest.mark.parametrize("name", [b"authorization", b"x-api-key"])
def test_refuses_a_credential_header_that_is_there_twice(name: bytes) -> None:
    fault = refused((name, b"Bearer a"), (b"host", b"h"), (name, b"Bearer a"))
    assert fault.kind == "invalid_request"
    assert fault.param == name.decode()


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Basic dXNlcjpwYXNz")],
        [(b"authorization", b"token-without-scheme")],
        [(b"authorization", b"Bearer a b")],
        [(b"authorization", b"Bearer a\x00b")],
        [(b"authorization", b"Bearer \xc3\xa4")],
        [(b"x-api-key", b"")],
        [(b"x-api-key", b" ")],
        [(b"cookie", b"token=abc")],
    ],
)
def test_refuses_what_is_no_credential(headers: list[tuple[bytes, bytes]]) -> None:
    fault = refused(*headers)
    assert (fault.kind, fault.should_retry) == ("unauthenticated", False)


@pytest.mark.parametrize("name", [b"authorization", b"x-api-key"])
def test_refuses_more_than_8192_bytes(name: bytes) -> None:
    prefix = b"Bearer " if name == b"authorization" else b""
    longest = b"a" * (8192 - len(prefix))
    assert credential([(name, prefix + longest)]) == longest
    assert refused((name, prefix + longest + b"a")).kind == "unauthenticated"
    assert refused((name, prefix + b"a" * 1_000_000)).kind == "unauthenticated"


def test_never_echoes_the_credential() -> None:
    canary = b"canary-51c3"
    faults = [
        refused((b"authorization", b"Basic " + canary)),
        refused((b"authorization", canary)),
        refused((b"authorization", b"Bearer " + canary), (b"authorization", b"Bearer " + canary)),
        refused((b"x-api-key", canary + b"\xff")),
        refused((b"x-api-key", canary * 1000)),
    ]
    assert not any("canary" in str(vars(fault)) for fault in faults)
