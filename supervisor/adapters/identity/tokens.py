"""The tokens of one installation, in files: made and revoked by commands, read by the running supervisor.

`tokens.json` has a digest of each agent's token and is written by commands alone; the supervisor reads it again when it
changes. `tokens-used.json` has each token's last day of use and is written by the supervisor alone. The operator's
token is the file `token`, which the command line needs in clear.
"""

import json
import logging
import os
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from contracts.wire.errors import ContractError
from contracts.wire.types import RoleName
from supervisor.adapters.files import locked, write_private
from supervisor.adapters.home import Home
from supervisor.domain.access.caller import Caller
from supervisor.domain.access.ports import KnownToken
from supervisor.domain.access.tokens import (
    OPERATOR,
    StoredToken,
    TokenBook,
    add_token,
    digest_of_token,
    revoke_token,
)
from supervisor.domain.errors import EngineError
from supervisor.domain.policies.roles import CallerLimits, RolePolicy

__all__ = ["TokenFileCallers", "create_token", "list_tokens", "revoke_stored_token"]

_log = logging.getLogger(__name__)

TOKEN_BYTES = 32
ROLES_LIMITS = CallerLimits()


def _now() -> datetime:
    return datetime.now(UTC)


def _format(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _read_book(home: Home) -> TokenBook:
    path = home.tokens_file
    try:
        if path.stat().st_mode & 0o077:
            raise EngineError("token_unsafe", f"others may read {path}; set it right with: chmod 600 {path}")
        return TokenBook.parse(path.read_bytes())
    except FileNotFoundError:
        return TokenBook()
    except ContractError as error:
        detail = f"{path} cannot be read ({error}); restore it, or remove it and make new tokens for all agents"
        raise EngineError("token_unsafe", detail) from error


def _change_book(home: Home, change: Callable[[TokenBook], TokenBook]) -> None:
    home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(home.root / "tokens.lock"):
        write_private(home.tokens_file, change(_read_book(home)).canonical() + b"\n")


def create_token(home: Home, role: RoleName, name: str, limits: CallerLimits = ROLES_LIMITS) -> str:
    """Make a token for an agent and return it; only its digest is kept.

    Args:
        home: the installation.
        role: the token's role.
        name: the token's name.
        limits: limits of its own; each one that is None is the role's.

    Raises:
        EngineError: ``token_exists``, or ``token_unsafe`` if the tokens before cannot be read.
    """
    token = secrets.token_urlsafe(TOKEN_BYTES)
    digest = digest_of_token(token.encode("ascii"))
    stored = StoredToken(
        name=name, role=role, digest=digest, limits=limits, created_at=_format(_now()), revoked_at=None
    )
    _change_book(home, lambda book: add_token(book, stored))
    return token


def revoke_stored_token(home: Home, name: str) -> None:
    """Revoke an agent's token.

    Raises:
        EngineError: ``token_unknown``, or ``token_unsafe`` if the tokens cannot be read.
    """
    _change_book(home, lambda book: revoke_token(book, name, _format(_now())))


def _read_uses(home: Home) -> dict[str, str]:
    # Lost or damaged, the days begin afresh: nothing is decided by them.
    try:
        uses = json.loads(home.tokens_used_file.read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(name): str(day) for name, day in uses.items()} if isinstance(uses, dict) else {}


def list_tokens(home: Home) -> tuple[KnownToken, ...]:
    """Return every token, the operator's first.

    Raises:
        EngineError: ``token_unsafe``, the file of tokens cannot be read.
    """
    return _describe(_read_book(home), _read_uses(home))


def _describe(book: TokenBook, uses: Mapping[str, str]) -> tuple[KnownToken, ...]:
    agents = (
        KnownToken(token.name, token.role, token.created_at, uses.get(token.name), token.revoked_at)
        for token in book.tokens
    )
    return KnownToken(OPERATOR, "operator", None, uses.get(OPERATOR), None), *agents


_Stamp = tuple[int, int, int] | None


def _stamp(path: str) -> _Stamp:
    try:
        # Not by `Path`, which takes as long again: this is done before every request.
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_ctime_ns


class TokenFileCallers:
    """See ``supervisor.domain.access.ports.CallersPort``. Looks at both files before each answer."""

    def __init__(self, home: Home, roles: Mapping[RoleName, RolePolicy], now: Callable[[], datetime] = _now) -> None:
        """Read the tokens, and make the operator's if there is none.

        Raises:
            EngineError: ``token_unsafe``; others may read a file of tokens, or it is damaged.
        """
        self._home = home
        self._roles = roles
        self._now = now
        self._paths = str(home.token_file), str(home.tokens_file)
        self._uses = _read_uses(home)
        self._book = TokenBook()
        self._by_digest: dict[str, Caller] = {}
        home.token()
        self._stamps = self._look()
        self._load()

    def find(self, token: bytes) -> Caller | None:
        """See ``CallersPort``."""
        self._refresh()
        # The time of a look-up by digest tells nothing about a token: nobody can choose a digest's first bytes.
        caller = self._by_digest.get(digest_of_token(token))
        if caller is not None:
            self._note_use(caller.name)
        return caller

    def known(self) -> tuple[KnownToken, ...]:
        """See ``CallersPort``."""
        self._refresh()
        return _describe(self._book, self._uses)

    def _look(self) -> tuple[_Stamp, _Stamp]:
        return _stamp(self._paths[0]), _stamp(self._paths[1])

    def _refresh(self) -> None:
        stamps = self._look()
        if stamps == self._stamps:
            return
        # Remembered before reading: a change in between is read with the next request.
        self._stamps = stamps
        # Nobody is known while a file cannot be read.
        self._by_digest = {}
        try:
            self._load()
        except (EngineError, OSError) as error:
            _log.error("nobody can call until the tokens can be read: %s", error)

    def _load(self) -> None:
        self._book = _read_book(self._home)
        found = {
            token.digest: self._caller(token.name, token.role, token.limits)
            for token in self._book.tokens
            if token.revoked_at is None
        }
        own = self._home.read_token()
        if own is not None:
            found[digest_of_token(own.encode("ascii"))] = self._caller(OPERATOR, "operator", ROLES_LIMITS)
        self._by_digest = found

    def _caller(self, name: str, role: RoleName, own: CallerLimits) -> Caller:
        policy = self._roles[role]
        return Caller(role, name, frozenset(policy.permissions), policy.limits.replaced_by(own))

    def _note_use(self, name: str) -> None:
        today = self._now().date().isoformat()
        if self._uses.get(name) == today:
            return
        self._uses[name] = today
        try:
            write_private(self._home.tokens_used_file, json.dumps(self._uses, sort_keys=True).encode("ascii") + b"\n")
        except OSError as error:
            _log.warning("a token's last day of use cannot be written: %s", error.strerror)
