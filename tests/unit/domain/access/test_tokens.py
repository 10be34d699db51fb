import hashlib

import pytest

from contracts.wire.errors import ContractError
from supervisor.domain.access.tokens import StoredToken, TokenBook, add_token, digest_of_token, revoke_token
from supervisor.domain.errors import EngineError

THEN, NOW = "2026-01-31T12:00:00.000Z", "2026-02-01T12:00:00.000Z"


def stored(name: str, token: bytes = b"token") -> StoredToken:
    return StoredToken(name=name, role="observer", digest=digest_of_token(token), created_at=THEN, revoked_at=None)


def test_a_token_is_kept_as_its_digest() -> None:
    assert digest_of_token(b"token") == "sha256:" + hashlib.sha256(b"token").hexdigest()


def test_a_book_keeps_tokens_in_the_order_of_their_making() -> None:
    book = add_token(add_token(TokenBook(), stored("one", b"1")), stored("two", b"2"))
    assert [token.name for token in book.tokens] == ["one", "two"]


def test_a_name_is_given_once_even_after_its_token_was_revoked() -> None:
    book = add_token(TokenBook(), stored("one", b"1"))
    with pytest.raises(EngineError, match="exists"):
        add_token(book, stored("one", b"2"))
    with pytest.raises(EngineError, match="was revoked"):
        add_token(revoke_token(book, "one", NOW), stored("one", b"2"))


def test_nobody_else_is_named_as_the_operator() -> None:
    with pytest.raises(EngineError, match="choose another one"):
        add_token(TokenBook(), stored("operator"))


def test_a_revoked_token_keeps_its_first_time() -> None:
    book = add_token(add_token(TokenBook(), stored("one", b"1")), stored("two", b"2"))
    book = revoke_token(revoke_token(book, "one", THEN), "one", NOW)
    assert [token.revoked_at for token in book.tokens] == [THEN, None]


def test_an_unknown_name_cannot_be_revoked() -> None:
    with pytest.raises(EngineError, match="token list") as caught:
        revoke_token(TokenBook(), "one", NOW)
    assert caught.value.code == "token_unknown"


@pytest.mark.parametrize(
    "tokens",
    [(stored("one", b"1"), stored("one", b"2")), (stored("one"), stored("two")), (stored("operator"),)],
    ids=["one name twice", "one token twice", "the operator's name"],
)
def test_a_book_in_which_callers_cannot_be_told_apart_is_refused(tokens: tuple[StoredToken, ...]) -> None:
    with pytest.raises(ContractError):
        TokenBook.parse(TokenBook.model_construct(schema_version="weos.tokens/1", tokens=tokens).canonical())
