"""Tokens in files, and a supervisor that knows each change at once."""

import logging
from datetime import UTC, datetime

import pytest

from supervisor.adapters.files import write_private
from supervisor.adapters.home import Home
from supervisor.adapters.identity.tokens import TokenFileCallers, create_token, list_tokens, revoke_stored_token
from supervisor.domain.errors import EngineError
from supervisor.domain.policies.roles import CallerLimits
from tests.fakes.installation import fixed_installation

ROLES = fixed_installation().policies.roles


class Clock:
    """A clock that a test sets."""

    now = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def names_of(callers: TokenFileCallers, *tokens: str) -> list[str | None]:
    found = [callers.find(token.encode()) for token in tokens]
    return [None if caller is None else caller.name for caller in found]


def test_a_token_counts_from_its_making_to_its_revocation_without_a_restart(empty_home: Home) -> None:
    callers = TokenFileCallers(empty_home, ROLES)
    token = create_token(empty_home, "experimenter", "one")
    caller = callers.find(token.encode())
    assert caller is not None
    assert (caller.name, caller.role, caller.permissions) == (
        "one",
        "experimenter",
        frozenset(ROLES["experimenter"].permissions),
    )
    another = create_token(empty_home, "observer", "two")
    revoke_stored_token(empty_home, "one")
    assert names_of(callers, token, another) == [None, "two"]


def test_a_token_has_its_own_limits_and_otherwise_its_roles(empty_home: Home) -> None:
    callers = TokenFileCallers(empty_home, ROLES)
    usual = create_token(empty_home, "experimenter", "usual")
    own = create_token(empty_home, "experimenter", "own", CallerLimits(tokens_per_day=7))
    found = [callers.find(token.encode()) for token in (usual, own)]
    limits = [None if caller is None else caller.limits for caller in found]
    of_role = ROLES["experimenter"].limits
    assert limits == [of_role, of_role.model_copy(update={"tokens_per_day": 7})]


def test_no_file_holds_the_token_of_an_agent(empty_home: Home) -> None:
    callers = TokenFileCallers(empty_home, ROLES)
    token = create_token(empty_home, "observer", "one")
    assert names_of(callers, token) == ["one"]
    for path in empty_home.root.rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes()
    assert empty_home.tokens_file.stat().st_mode & 0o777 == 0o600


def test_a_token_is_256_random_bits(empty_home: Home) -> None:
    tokens = {create_token(empty_home, "observer", f"n{number}") for number in range(5)}
    assert {len(token) for token in tokens} == {43}
    assert len(tokens) == 5


def test_the_operator_is_known_by_the_file_and_by_a_new_one_at_once(empty_home: Home) -> None:
    callers = TokenFileCallers(empty_home, ROLES)
    first = empty_home.token()
    assert names_of(callers, first, "") == ["operator", None]
    empty_home.token_file.unlink()
    assert names_of(callers, first) == [None]
    second = empty_home.token()
    assert names_of(callers, first, second) == [None, "operator"]


def test_the_last_day_of_use_is_kept_and_written_once_a_day(empty_home: Home) -> None:
    clock = Clock()
    callers = TokenFileCallers(empty_home, ROLES, clock)
    token = create_token(empty_home, "observer", "one")
    callers.find(token.encode())
    written = empty_home.tokens_used_file.stat().st_ino
    callers.find(token.encode())
    assert empty_home.tokens_used_file.stat().st_ino == written
    assert {each.name: each.last_used_on for each in callers.known()} == {"operator": None, "one": "2026-01-31"}
    clock.now = datetime(2026, 2, 1, tzinfo=UTC)
    callers.find(token.encode())
    assert list_tokens(empty_home)[1].last_used_on == "2026-02-01"
    assert TokenFileCallers(empty_home, ROLES, clock).known()[1].last_used_on == "2026-02-01"


@pytest.mark.parametrize("content", [b"[]", b"nothing"])
def test_days_that_cannot_be_read_begin_afresh(empty_home: Home, content: bytes) -> None:
    write_private(empty_home.tokens_used_file, content)
    assert list_tokens(empty_home)[0].last_used_on is None


def test_a_day_that_cannot_be_written_refuses_nobody(empty_home: Home, caplog: pytest.LogCaptureFixture) -> None:
    callers = TokenFileCallers(empty_home, ROLES)
    empty_home.tokens_used_file.mkdir()
    assert names_of(callers, empty_home.token()) == ["operator"]
    assert "cannot be written" in caplog.text


def test_a_list_tells_what_was_made_and_revoked(empty_home: Home) -> None:
    create_token(empty_home, "observer", "one")
    revoke_stored_token(empty_home, "one")
    operator, one = list_tokens(empty_home)
    assert (operator.name, operator.role, operator.created_at) == ("operator", "operator", None)
    assert one.created_at is not None
    assert one.revoked_at is not None
    assert one.created_at <= one.revoked_at


@pytest.mark.parametrize("fault", ["mode", "content"])
def test_tokens_that_cannot_be_trusted_stop_the_start(empty_home: Home, fault: str) -> None:
    create_token(empty_home, "observer", "one")
    if fault == "mode":
        empty_home.tokens_file.chmod(0o644)
    else:
        write_private(empty_home.tokens_file, b'{"tokens": []')
    with pytest.raises(EngineError) as caught:
        TokenFileCallers(empty_home, ROLES)
    assert caught.value.code == "token_unsafe"


def test_nobody_is_known_while_a_changed_file_cannot_be_read(
    empty_home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    callers = TokenFileCallers(empty_home, ROLES)
    token = create_token(empty_home, "observer", "one")
    good = empty_home.tokens_file.read_bytes()
    write_private(empty_home.tokens_file, b"nothing")
    assert names_of(callers, token, empty_home.token()) == [None, None]
    assert "nobody can call" in caplog.text
    write_private(empty_home.tokens_file, good)
    assert names_of(callers, token, empty_home.token()) == ["one", "operator"]
