"""A file from a web server, pinned by its SHA-256: resumed where it broke off, never without end."""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import requests

from contracts.wire.types import Digest
from contracts.wire.units import KIB
from supervisor.adapters.installation.model_source import BEGIN_BYTES, require_magic, require_room
from supervisor.console.steps import Progress, Step
from supervisor.domain.errors import SetupError
from supervisor.domain.models.pull_source import UrlSource

__all__ = ["Patience", "download_url", "fetching_into"]

# What a broken connection loses at most.
CHUNK_BYTES = 64 * KIB
OK, PARTIAL, RANGE_NOT_SATISFIABLE = 200, 206, 416
# Answers that a server gives when it may serve the same request later.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a source may keep silent, and how often a broken fetch goes on without progress."""

    silence_s: float = 60.0
    """The longest wait for a byte."""
    attempts: int = 5
    """How many attempts in a row may bring nothing."""
    pause_s: float = 1.0
    """Wait before the second attempt; each further wait is twice as long."""


@contextmanager
def fetching_into(directory: Path) -> Iterator[None]:
    """Hold the right to fetch into a directory, which is made if it is missing.

    Raises:
        SetupError: source_busy.
    """
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        message = f"another process is fetching the same model; wait for it, or see which: fuser {directory}"
        raise SetupError("source_busy", message) from error
    else:
        yield
    finally:
        os.close(descriptor)


def download_url(
    source: UrlSource, sha256: Digest, directory: Path, progress: Progress, patience: Patience | None = None
) -> Path:
    """Return the fetched file, whose digest is right.

    What an interrupted fetch has brought stays in the directory, under the digest, and the next fetch goes on there.

    Args:
        source: the address.
        sha256: digest of the file.
        directory: where the file is kept; the caller holds it (`fetching_into`).
        progress: shows the steps.
        patience: when to give up.

    Raises:
        SetupError: source_fetch_failed, or source_invalid where the server has another file.
        EngineError: ``model_refused`` where the file does not begin like a model; ``disk_full``.
    """
    part = directory / f"{sha256.removeprefix('sha256:')}.part"
    with progress.step(f"Fetching {source.shown}", "and checking its SHA-256") as step, part.open("a+b") as file:
        fetch = _Fetch(source, file, step, patience or Patience())
        fetch.run()
    if fetch.sha256 != sha256:
        part.unlink()
        message = f"{source.shown} has the SHA-256 {fetch.sha256}, not {sha256}; nothing was kept"
        raise SetupError("source_invalid", message)
    return part


class _Fetch:
    """One file on its way, over as many connections as it takes."""

    def __init__(self, source: UrlSource, file: IO[bytes], step: Step, patience: Patience) -> None:
        self._source = source
        self._file = file
        self._step = step
        self._patience = patience
        self._directory = Path(file.name).parent
        self._digest = hashlib.sha256()
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            self._digest.update(chunk)

    @property
    def sha256(self) -> Digest:
        """The digest of what is there."""
        return f"sha256:{self._digest.hexdigest()}"

    def run(self) -> None:
        """Connect until the file is whole.

        Raises:
            SetupError: source_fetch_failed.
            EngineError: ``model_refused`` or ``disk_full``.
        """
        failures, most_bytes = 0, self._file.tell()
        while (why := self._try()) is not None:
            # Counted from the most that was ever there: a server may make every connection begin again.
            failures = 0 if self._file.tell() > most_bytes else failures + 1
            most_bytes = max(most_bytes, self._file.tell())
            if failures >= self._patience.attempts:
                raise self._failed(f"{why}. What there is stays in {self._file.name}; repeat to go on")
            self._step.note(f"{why}; trying again")
            time.sleep(self._patience.pause_s * 2 ** max(0, failures - 1))

    def _failed(self, why: str) -> SetupError:
        return SetupError("source_fetch_failed", f"{self._source.shown} could not be fetched: {why}")

    def _try(self) -> str | None:
        """Fetch as much as one connection brings; return why it ended early, None where the file is whole."""
        begin_bytes = self._file.tell()
        headers = {"Accept-Encoding": "identity"}
        if begin_bytes:
            headers["Range"] = f"bytes={begin_bytes}-"
        timeouts_s = (self._patience.silence_s, self._patience.silence_s)
        try:
            with requests.get(self._source.url, headers=headers, stream=True, timeout=timeouts_s) as answer:
                if answer.status_code in PASSING:
                    return f"its server answered {answer.status_code}"
                if answer.status_code == RANGE_NOT_SATISFIABLE and begin_bytes:
                    # The file is whole already, or another one; its digest tells.
                    return None
                if answer.status_code not in {OK, PARTIAL}:
                    raise self._failed(f"its server answered {answer.status_code}")
                return self._take(answer, begin_bytes)
        except requests.RequestException as error:
            # The text of the exception may hold the address with its secrets.
            why = f"the connection failed ({type(error).__name__})"
            if isinstance(error, ValueError | requests.exceptions.SSLError):
                # An address that is none, or a certificate that is not trusted, stays what it is.
                raise self._failed(why) from error
            return why

    def _take(self, answer: requests.Response, begin_bytes: int) -> str | None:
        is_continued = answer.headers.get("Content-Range", "").startswith(f"bytes {begin_bytes}-")
        if begin_bytes and not (answer.status_code == PARTIAL and is_continued):
            # The server sends everything again.
            begin_bytes = 0
            self._file.truncate(0)
            self._file.seek(0)
            self._digest = hashlib.sha256()
        length = answer.headers.get("Content-Length", "")
        total_bytes = begin_bytes + int(length) if length.isdecimal() else None
        if total_bytes is not None:
            require_room(self._source.shown, total_bytes - begin_bytes, self._directory)
        for chunk in answer.iter_content(CHUNK_BYTES):
            self._keep(chunk, total_bytes or 0)
        if total_bytes is not None and self._file.tell() < total_bytes:
            return "the connection ended early"
        return None

    def _keep(self, chunk: bytes, total_bytes: int) -> None:
        if self._file.tell() == 0:
            require_magic(Path(self._source.file_name), chunk[:BEGIN_BYTES])
        # Others use the disk too, and a server that tells no length may send without end.
        require_room(self._source.shown, len(chunk), self._directory)
        self._file.write(chunk)
        self._file.flush()
        self._digest.update(chunk)
        done_bytes = self._file.tell()
        self._step.update(done_bytes, total_bytes, f"{done_bytes / 1e6:.0f} of {total_bytes / 1e6:.0f} MB")
