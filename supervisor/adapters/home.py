"""Where everything of one installation lies: `WEOS_HOME`."""

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from supervisor.adapters.files import locked, write_private
from supervisor.adapters.home_soundness import require_own_home
from supervisor.domain.errors import EngineError
from supervisor.place import default_home

__all__ = ["LOG_KEY", "Home", "default_home"]

# The name under which the ledger's key lies among the keys.
LOG_KEY = "log"


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of one installation, and the two secrets that are made at first need."""

    root: Path

    @property
    def models(self) -> Path:
        """The content-addressed model store."""
        return self.root / "models"

    @property
    def keys(self) -> Path:
        """Private keys."""
        return self.root / "keys"

    @property
    def ledger(self) -> Path:
        """The database of executions and records."""
        return self.root / "ledger" / "ledger.sqlite3"

    @property
    def checkpoint_copy(self) -> Path:
        """The newest checkpoint of the ledger, outside its directory."""
        return self.root / "checkpoint.note"

    @property
    def trust_file(self) -> Path:
        """Public keys of the engine versions that ran here."""
        return self.root / "trust.json"

    @property
    def token_file(self) -> Path:
        """The operator's bearer token."""
        return self.root / "token"

    @property
    def tokens_file(self) -> Path:
        """Names, roles and digests of the agents' tokens."""
        return self.root / "tokens.json"

    @property
    def tokens_used_file(self) -> Path:
        """The last day of use of each token."""
        return self.root / "tokens-used.json"

    @property
    def calibration(self) -> Path:
        """What `weos-engine power calibrate` found."""
        return self.root / "calibration.json"

    @property
    def gpu_limit(self) -> Path:
        """The GPU's own power limit, kept while an execution has set another."""
        return self.root / "gpu-limit.json"

    @property
    def escape(self) -> Path:
        """Reports of the escape suite."""
        return self.root / "escape"

    @property
    def seccomp_profiles(self) -> Path:
        """System call filters, for a container engine that reads them from files."""
        return self.root / "engine"

    @property
    def socket(self) -> Path:
        """The API's Unix socket."""
        return self.root / "run" / "engine.sock"

    @property
    def address_file(self) -> Path:
        """Where the running supervisor listens."""
        return self.root / "run" / "address"

    def token(self) -> str:
        """Return the operator's bearer token, made at first need.

        Raises:
            EngineError: ``token_unsafe``, others may read the file or it is empty.
        """
        token = self.read_token()
        if token is not None:
            return token
        made = secrets.token_urlsafe(32)
        write_private(self.token_file, made.encode("ascii") + b"\n")
        return made

    def read_token(self) -> str | None:
        """Return the operator's bearer token, or None if there is none yet.

        Raises:
            EngineError: ``token_unsafe``, others may read the file or it is empty.
        """
        path = self.token_file
        if not path.exists():
            return None
        if path.stat().st_mode & 0o077:
            raise EngineError("token_unsafe", f"others may read {path}; set it right with: chmod 600 {path}")
        token = path.read_text(encoding="ascii", errors="replace").strip()
        if len(token) < 20 or not token.isascii():  # noqa: PLR2004 - 120 bits; a shorter one was put there by hand
            raise EngineError("token_unsafe", f"{path} holds no usable token; remove it to get a new one")
        return token

    def instance_id(self) -> str:
        """Return the id by which this installation knows its containers.

        A secret made at first need, and the place: a copy of a home must not take the original's containers for its
        own left-overs.

        Raises:
            EngineError: ``instance_unsound``, the file holds something else.
        """
        path = self.root / "instance"
        if not path.exists():
            write_private(path, secrets.token_hex(16).encode("ascii") + b"\n")
        secret = path.read_bytes().strip()
        if not re.fullmatch(rb"[0-9a-f]{32}", secret):
            raise EngineError("instance_unsound", f"{path} does not hold an id; remove it to get a new one")
        return hashlib.sha256(secret + bytes(self.root.resolve())).hexdigest()[:32]

    @contextmanager
    def take(self) -> Iterator[None]:
        """Take the home for one supervisor; it is free again when the block or the process ends.

        Raises:
            EngineError: ``home_taken``, another supervisor has it; ``home_unsafe``, others may have a hand in it.
        """
        require_own_home(self.root)
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory = self.root / "run"
        directory.mkdir(exist_ok=True)
        directory.chmod(0o700)
        path = directory / "supervisor.lock"
        with ExitStack() as stack:
            try:
                lock = stack.enter_context(locked(path, timeout_s=0))
            except BlockingIOError as error:
                owner = path.read_text(encoding="ascii").strip() or "unknown"
                detail = (
                    f"another supervisor (process {owner}) is running on {self.root}; use it, stop it, or choose "
                    "another place with WEOS_HOME"
                )
                raise EngineError("home_taken", detail) from error
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield
