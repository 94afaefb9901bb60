"""Keys of a JWKS document, as far as this gateway trusts them to verify a signature."""

from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWTError
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

MAX_KID_CHARACTERS = 256

_MIN_RSA_BITS = 2048
_MAX_RSA_BITS = 8192
_MIN_RSA_EXPONENT = 65537
_MAX_MEMBER_CHARACTERS = 2048

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key and the only algorithms that a token may name with it."""

    public: PublicKey
    algorithms: tuple[str, ...]


def verification_keys(document: object) -> dict[str, VerificationKey]:
    """Returns the usable keys of a JWKS document by `kid`; what is not usable is left out.

    Left out are keys for another use than signatures, without a `kid`, of an unknown type or curve, with an
    algorithm outside the allow-list, private or symmetric ones, and RSA keys under 2048 bits or with an
    exponent under 65537. The first of several keys with the same `kid` counts.

    Source: RFC 7517 sections 4 and 5, RFC 7518 section 6, RFC 8037; RFC 8725 section 3.5.
    """
    keys: dict[str, VerificationKey] = {}
    listed = document.get("keys") if isinstance(document, dict) else None
    for jwk in listed if isinstance(listed, list) else []:
        if isinstance(jwk, dict) and _is_for_signatures(jwk) and jwk["kid"] not in keys:
            key = _verification_key(jwk)
            if key is not None:
                keys[jwk["kid"]] = key
    return keys


def _is_for_signatures(jwk: dict[str, Any]) -> bool:
    kid, operations = jwk.get("kid"), jwk.get("key_ops", ["verify"])
    return (
        isinstance(kid, str)
        and 0 < len(kid) <= MAX_KID_CHARACTERS
        and jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and "d" not in jwk
        and all(len(str(jwk.get(name, ""))) <= _MAX_MEMBER_CHARACTERS for name in "nexy")
    )


def _verification_key(jwk: dict[str, Any]) -> VerificationKey | None:
    try:
        public, algorithms = _public_key(jwk)
    except (PyJWTError, UnsupportedAlgorithm, ValueError, TypeError):
        return None
    if "alg" in jwk:
        algorithms = tuple(algorithm for algorithm in algorithms if algorithm == jwk["alg"])
    return VerificationKey(public, algorithms) if algorithms else None


def _public_key(jwk: dict[str, Any]) -> tuple[PublicKey, tuple[str, ...]]:
    match jwk.get("kty"), jwk.get("crv"):
        case "RSA", None:
            rsa = RSAAlgorithm.from_jwk(jwk)
            if (
                isinstance(rsa, RSAPublicKey)
                and _MIN_RSA_BITS <= rsa.key_size <= _MAX_RSA_BITS
                and rsa.public_numbers().e >= _MIN_RSA_EXPONENT
            ):
                return rsa, ("RS256", "PS256")
        case "EC", "P-256":
            curve = ECAlgorithm.from_jwk(jwk)
            if isinstance(curve, EllipticCurvePublicKey):
                return curve, ("ES256",)
        case "OKP", "Ed25519" | "Ed448":
            edwards = OKPAlgorithm.from_jwk(jwk)
            if isinstance(edwards, Ed25519PublicKey | Ed448PublicKey):
                return edwards, ("EdDSA",)
    raise ValueError("not a key this gateway trusts")
