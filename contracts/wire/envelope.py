"""DSSE 1.0.2 envelopes with exactly one Ed25519 signature: encode, decode, sign.

The envelope carries no ``keyid``: a ``keyid`` lies outside the signature, so a verifier could not rely on it. Without
it, every byte of a stored envelope matters.
"""

import base64
import binascii
from typing import Annotated, ClassVar, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field

from contracts.wire.canonical import canonical_bytes
from contracts.wire.document import Contract, Many
from contracts.wire.errors import ContractError, FieldError

__all__ = [
    "PAYLOAD_TYPE",
    "Envelope",
    "EnvelopeSignature",
    "Signer",
    "decode_base64",
    "pre_authentication_bytes",
    "seal",
    "signature_holds",
]

PAYLOAD_TYPE = "application/vnd.in-toto+json"


class Signer(Protocol):
    """The holder of a private key."""

    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature (64 bytes) of ``data``."""
        ...


class EnvelopeSignature(Contract):
    """One signature of an envelope."""

    keyid: Annotated[str, Field(max_length=128)] | None = None
    """Hint about the key, set by the creator of the envelope. It is never used; null or absent means no hint."""
    sig: Annotated[str, Field(max_length=128)]
    """Ed25519 signature over DSSE's pre-authentication encoding of the payload, in base64."""


class Envelope(Contract):
    """A DSSE 1.0.2 envelope: a signed document and its signatures."""

    MAX_BYTES: ClassVar[int] = 6_291_456

    payload: str
    """The signed bytes in base64: an in-toto Statement in RFC 8785 form."""
    payloadType: Annotated[str, Field(max_length=128)]  # noqa: N815 - DSSE's name
    """Media type of the payload; for documents of this engine always `application/vnd.in-toto+json`."""
    signatures: Annotated[Many[EnvelopeSignature], Field(max_length=16)]
    """Exactly one signature, except on documents that several root keys sign together."""

    def encode(self) -> bytes:
        """Return the envelope as it is stored: in RFC 8785 form, without a newline at the end."""
        return canonical_bytes(self.model_dump(mode="json", exclude_none=True))


def decode_base64(text: str) -> bytes:
    """Decode standard base64 and refuse every other spelling of the same bytes.

    ``b64decode(validate=True)`` accepts non-zero trailing bits, so the end of the result is encoded again and compared.
    Everything before the end has only one spelling, since every four characters are exactly three bytes.

    Raises:
        ContractError: the text is not canonical base64.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed_base64() from error
    end = base64.b64encode(data[len(data) // 3 * 3 :]).decode("ascii")
    if len(text) != (len(data) + 2) // 3 * 4 or not text.endswith(end):
        raise _malformed_base64()
    return data


def _malformed_base64() -> ContractError:
    fault = FieldError(field="", code="malformed_base64", message="not canonical base64")
    return ContractError("malformed_json", (fault,))


def pre_authentication_bytes(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding (PAE), the bytes that are signed."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, *signers: Signer) -> bytes:
    """Sign a payload once with each signer; return the envelope in RFC 8785 form, without a newline at the end."""
    signed = pre_authentication_bytes(PAYLOAD_TYPE, payload)
    envelope = Envelope(
        payload=base64.b64encode(payload).decode("ascii"),
        payloadType=PAYLOAD_TYPE,
        signatures=tuple(
            EnvelopeSignature(sig=base64.b64encode(signer.sign(signed)).decode("ascii")) for signer in signers
        ),
    )
    return envelope.encode()


def signature_holds(key: Ed25519PublicKey, signature: bytes, payload: bytes) -> bool:
    """Return whether ``signature`` is the key's signature over the payload of an in-toto envelope."""
    try:
        key.verify(signature, pre_authentication_bytes(PAYLOAD_TYPE, payload))
    except InvalidSignature:
        return False
    return True
