"""How a personal key is written: what is one, and what only looks like it."""

import re
import zlib

import pytest

from llm_gateway.auth.personal_key_text import is_well_formed, new, written

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ZERO = written(0)
MOST = written(2**256 - 1)


def test_a_key_is_53_letters_and_digits_after_its_prefix() -> None:
    for key in (new(), ZERO, MOST):
        assert re.fullmatch(r"ogw_[0-9A-Za-z]{49}", key)
        assert is_well_formed(key.encode())


def test_no_two_keys_are_the_same() -> None:
    assert len({new() for _ in range(1000)}) == 1000


def test_a_number_has_one_spelling() -> None:
    assert ZERO[4:47] == "0" * 43
    # Above 2^256: no number of 256 bits is written so, whatever its checksum.
    for secret in (_incremented(MOST[4:47]), "z" * 43):
        assert not is_well_formed(_with_checksum(secret))
    assert _with_checksum(MOST[4:47]) == MOST.encode()


def test_the_checksum_is_the_crc_32_of_the_digits() -> None:
    assert ZERO == _with_checksum("0" * 43).decode() == f"ogw_{'0' * 43}2CZclj"


def _incremented(secret: str) -> str:
    return secret[:-1] + _ALPHABET[_ALPHABET.index(secret[-1]) + 1]


def _with_checksum(secret: str) -> bytes:
    number, digits = zlib.crc32(secret.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return f"ogw_{secret}{digits}".encode()


def test_every_single_mistyped_character_is_noticed() -> None:
    key = written(int.from_bytes(bytes(range(32))))
    for place in range(4, len(key)):
        for other in ("0" if key[place] != "0" else "1", key[place].swapcase()):
            mistyped = key[:place] + other + key[place + 1 :]
            assert mistyped == key or not is_well_formed(mistyped.encode()), place


@pytest.mark.parametrize(
    "credential",
    [
        b"",
        b"ogw_",
        MOST[:-1].encode(),
        f"{MOST}0".encode(),
        f" {MOST}".encode(),
        f"{MOST}\n".encode(),
        MOST.replace("ogw_", "OGW_").encode(),
        MOST.replace("ogw_", "ogx_").encode(),
        MOST.encode()[:-1] + b"\xff",
        MOST.encode("utf-16"),
    ],
)
def test_what_is_written_otherwise_is_no_key(credential: bytes) -> None:
    assert not is_well_formed(credential)
