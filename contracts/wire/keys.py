"""Ed25519 public keys: parsed strictly, refused when weak, encoded in one form."""

import base64
import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from contracts.wire.envelope import decode_base64
from contracts.wire.errors import ContractError, FieldError

__all__ = [
    "encode_public_key",
    "key_fingerprint",
    "load_public_key",
    "require_strong",
]


# The eight points of small order of edwards25519 in every encoding that OpenSSL accepts: with such a key, one
# signature can be valid for two different messages. The sign bit (last byte's top bit) is cleared before comparing.
_SMALL_ORDER = frozenset(
    bytes.fromhex(text)
    for text in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)
_FIELD_PRIME = 2**255 - 19


def _weak(message: str) -> ContractError:
    return ContractError("weak_key", (FieldError(field="", code="weak_key", message=message),))


def load_public_key(text: str) -> Ed25519PublicKey:
    """Decode a public key and refuse weak ones.

    Raises:
        ContractError: ``malformed_json`` if the text is not a public key; ``weak_key`` if the key is not an Ed25519
            key, is a point of small order or is not canonically encoded.
    """
    try:
        key = load_der_public_key(decode_base64(text))
    except (ValueError, UnsupportedAlgorithm) as error:
        fault = FieldError(field="", code="malformed_key", message="not a public key in DER")
        raise ContractError("malformed_json", (fault,)) from error
    if not isinstance(key, Ed25519PublicKey):
        raise _weak("not an Ed25519 key")
    return require_strong(key)


def require_strong(key: Ed25519PublicKey) -> Ed25519PublicKey:
    """Return the key if it is not of small order and is canonically encoded.

    Raises:
        ContractError: ``weak_key``; the key is weak.
    """
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    y_bytes = raw[:-1] + bytes([raw[-1] & 0x7F])
    if y_bytes in _SMALL_ORDER or int.from_bytes(y_bytes, "little") >= _FIELD_PRIME:
        raise _weak("the key is a point of small order or not canonically encoded")
    return key


def _subject_public_key_info(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def encode_public_key(key: Ed25519PublicKey) -> str:
    """Return the key's SubjectPublicKeyInfo in base64."""
    return base64.b64encode(_subject_public_key_info(key)).decode("ascii")


def key_fingerprint(key: Ed25519PublicKey) -> str:
    """Return the hexadecimal SHA-256 of the key's SubjectPublicKeyInfo."""
    return hashlib.sha256(_subject_public_key_info(key)).hexdigest()
