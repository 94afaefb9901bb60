"""How a personal key is written: `ogw_`, 256 random bits in base62, and a checksum."""

import re
import secrets
import string
import zlib

PREFIX = "ogw_"

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SECRET_BITS = 256
# The fewest digits that hold 256 and 32 bits.
_SECRET_DIGITS = 43
_CHECKSUM_DIGITS = 6
_FORM = re.compile(rb"ogw_([0-9A-Za-z]{%d})([0-9A-Za-z]{%d})" % (_SECRET_DIGITS, _CHECKSUM_DIGITS))


def new() -> str:
    """Returns a key that nobody has, of 53 characters."""
    return written(secrets.randbits(_SECRET_BITS))


def written(number: int) -> str:
    """Returns the key of a number below 2^256."""
    secret = _base62(number, _SECRET_DIGITS)
    return f"{PREFIX}{secret}{_checksum(secret.encode())}"


def is_well_formed(credential: bytes) -> bool:
    """Returns whether `credential` is written as a key is: what is mistyped or made up without care is not.

    Every number has one spelling. The checksum is no secret: anybody can compute it.
    """
    found = _FORM.fullmatch(credential)
    if found is None:
        return False
    secret, checksum = found.groups()
    return checksum.decode() == _checksum(secret) and _number(secret) < 1 << _SECRET_BITS


def _checksum(secret: bytes) -> str:
    return _base62(zlib.crc32(secret), _CHECKSUM_DIGITS)


def _base62(number: int, digits: int) -> str:
    text = ""
    for _ in range(digits):
        number, digit = divmod(number, len(_ALPHABET))
        text = _ALPHABET[digit] + text
    return text


def _number(text: bytes) -> int:
    number = 0
    for character in text.decode():
        number = number * len(_ALPHABET) + _ALPHABET.index(character)
    return number
