"""The answer to a challenge: who listens at an address, so that a client knows before it sends its token."""

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints

from contracts.wire.canonical import canonical_bytes
from contracts.wire.document import Contract, Many
from contracts.wire.types import Digest, EngineVersion, Nonce, Timestamp

__all__ = ["Challenge", "ChallengeStatement", "ChallengeSubject"]


class ChallengeSubject(Contract):
    """What the statement is about."""

    name: Literal["challenge"]
    """Fixed."""
    digest: dict[Literal["sha256"], Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]]
    """SHA-256 of the predicate in RFC 8785 form, as 64 hexadecimal digits."""


class Challenge(Contract):
    """The predicate: this engine listens at this address, and was asked with this nonce."""

    schema_version: Literal["weos.challenge/1"]
    """Kind and version of this document."""
    nonce: Nonce
    """The client's nonce, which proves that the statement was signed after the nonce was chosen."""
    address: Annotated[str, StringConstraints(max_length=64)]
    """The supervisor's own end of the connection: `127.0.0.1:8642`, or `unix` for the socket. A client compares it with
    the address to which it is connected: another one means that somebody passes the challenge on."""
    engine_version: EngineVersion
    """The engine that answers; this version's key signs the statement."""
    manifest: Digest | None
    """Digest of the engine manifest of that version; null: a development version, which has none."""
    signed_at: Timestamp
    """Time of the signature, UTC."""


class ChallengeStatement(Contract):
    """in-toto Statement v1 about a challenge; the payload of the signed envelope."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    MAX_BYTES: ClassVar[int] = 4096

    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    """Fixed by in-toto."""
    subject: Annotated[Many[ChallengeSubject], Field(min_length=1, max_length=1)]
    """Digest of the predicate."""
    predicateType: Literal["urn:weos:engine:challenge:1"]  # noqa: N815 - in-toto's name
    """Kind of predicate."""
    predicate: Challenge
    """The challenge and its answer."""

    @classmethod
    def of(cls, challenge: Challenge) -> "ChallengeStatement":
        """Return the statement about a challenge."""
        digest = challenge.canonical_digest().removeprefix("sha256:")
        return cls(
            type_="https://in-toto.io/Statement/v1",
            subject=(ChallengeSubject(name="challenge", digest={"sha256": digest}),),
            predicateType="urn:weos:engine:challenge:1",
            predicate=challenge,
        )

    def encode(self) -> bytes:
        """Return the RFC 8785 form: the bytes to sign."""
        return canonical_bytes(self.model_dump(mode="json", by_alias=True))
