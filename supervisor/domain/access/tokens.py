"""Bearer tokens as the engine keeps them: a name, a role and a digest, never the token itself. Pure."""

import hashlib
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from contracts.wire.document import Contract, Many
from contracts.wire.types import CallerName, Digest, RoleName, Timestamp
from supervisor.domain.errors import EngineError
from supervisor.domain.policies.roles import CallerLimits

__all__ = ["OPERATOR", "StoredToken", "TokenBook", "add_token", "digest_of_token", "revoke_token"]

# The operator's token is a file of the home, which the command line reads; it has this name and is in no book.
OPERATOR = "operator"
TOKENS_MAX = 10_000


def digest_of_token(token: bytes) -> str:
    """Return what is stored of a token.

    A plain, fast hash is enough: a token is 256 random bits, so nobody can try them all, and no two tokens are alike.
    Slow hashes and salts protect secrets that people choose; here they would only slow down each request.
    """
    return "sha256:" + hashlib.sha256(token).hexdigest()


class StoredToken(Contract):
    """One token of an agent."""

    name: CallerName
    """Its name: that of the caller, in records and in lists."""
    role: RoleName
    """The role of who shows it."""
    digest: Digest
    """SHA-256 of the token."""
    limits: CallerLimits = CallerLimits()
    """Limits of its own, in the place of its role's."""
    created_at: Timestamp
    """When it was made."""
    revoked_at: Timestamp | None
    """When it was revoked; null: it is in use."""


class TokenBook(Contract):
    """Every token that was ever made for an agent. A name stays taken after its token was revoked."""

    MAX_BYTES: ClassVar[int] = 4_194_304

    schema_version: Literal["weos.tokens/1"] = "weos.tokens/1"
    """Kind and version of this document."""
    tokens: Annotated[Many[StoredToken], Field(max_length=TOKENS_MAX)] = ()
    """The tokens, oldest first."""

    @model_validator(mode="after")
    def _tell_callers_apart(self) -> Self:
        names = {token.name for token in self.tokens}
        digests = {token.digest for token in self.tokens}
        if len(names) < len(self.tokens) or len(digests) < len(self.tokens) or OPERATOR in names:
            message = f"names and digests must be unique, and no token may be named '{OPERATOR}'"
            raise ValueError(message)
        return self


def add_token(book: TokenBook, token: StoredToken) -> TokenBook:
    """Return the book with one more token.

    Raises:
        EngineError: ``token_exists``, the name is or was another token's.
    """
    if token.name == OPERATOR:
        detail = f"'{OPERATOR}' is the name of the operator's own token; choose another one with --name"
        raise EngineError("token_exists", detail)
    known = next((each for each in book.tokens if each.name == token.name), None)
    if known is not None:
        state = "exists" if known.revoked_at is None else "was revoked; records carry its name, so it stays taken"
        raise EngineError("token_exists", f"the token '{token.name}' {state}; choose another name with --name")
    return TokenBook(tokens=(*book.tokens, token))


def revoke_token(book: TokenBook, name: str, revoked_at: str) -> TokenBook:
    """Return the book with one token revoked; a token that was revoked before keeps its time.

    Args:
        book: the tokens.
        name: name of the token to revoke.
        revoked_at: now, as a timestamp.

    Raises:
        EngineError: ``token_unknown``, no token has the name.
    """
    if name not in {token.name for token in book.tokens}:
        raise EngineError("token_unknown", f"there is no token '{name}'; list tokens with: weos-engine token list")
    revoked = (
        token.model_copy(update={"revoked_at": token.revoked_at or revoked_at}) if token.name == name else token
        for token in book.tokens
    )
    return TokenBook(tokens=tuple(revoked))
