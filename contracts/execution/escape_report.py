"""The escape report: attacks tried from inside one installed sandbox, and their results."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from contracts.wire.document import Contract, Many
from contracts.wire.types import BackendName, Digest, EngineVersion, IsolationTier

__all__ = ["EscapeAttempt", "EscapeReport"]

_Words = Annotated[str, StringConstraints(min_length=1, max_length=200)]
# An answer may list many names; the suite cuts the list off.
_Answer = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
_CallName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,63}$")]


class EscapeAttempt(Contract):
    """One attack and its result."""

    group: _Words
    """Target of the attack."""
    name: _Words
    """The attack."""
    moment: Literal["lock_one", "lock_two"]
    """`lock_one`: before the model is loaded, when only the container's rules apply. `lock_two`: after that, when the
    runner has put a second system call filter on itself and may know the job."""
    expected: Annotated[Many[_Answer], Field(min_length=1)]
    """Results that are accepted. Either the name of an error, or: `SIGSYS`, the system call filter killed the process;
    `SIGKILL`, the process was killed because it ran out of memory; `trapped`, the call was not made and the process
    went on; `nothing`, a search found nothing; `stopped`, a limit held; `allowed`, the attack succeeded and `note` says
    why it does no harm."""
    observed: _Answer
    """The actual result. `allowed`, possibly with details, means that the attack was not held back."""
    verdict: Literal["blocked", "open", "allowed", "unexpected"]
    """`blocked`: held back, as expected. `open`: succeeded, as expected (see `note`). `allowed`: succeeded, although it
    should have been blocked. `unexpected`: blocked, but not in the expected way."""
    note: _Answer | None = None
    """Why an attack that is expected to succeed does no harm; null: no such explanation is needed."""


class EscapeReport(Contract):
    """The attacks on the sandbox of one backend in one isolation tier.

    The report contains no times and nothing random: equal installations give equal reports. Its digest is the SHA-256
    of its RFC 8785 form, in which it is also stored.
    """

    MAX_BYTES: ClassVar[int] = 4_194_304

    schema_version: Literal["weos.escape-report/1"]
    """Kind and version of this document."""
    engine_version: EngineVersion
    """The engine that the suite belongs to."""
    isolation: IsolationTier
    """Isolation tier of the sandbox."""
    backend: BackendName
    """Name of the build of llama.cpp."""
    runtime_image: Digest
    """Container image of that backend, named by the digest of its configuration."""
    policies: dict[str, Digest]
    """Digest of every policy file in use, by file name."""
    kernel: _Words
    """Release of the kernel under the container engine."""
    container_engine: _Words
    """Version of the container engine."""
    runtime: _Words
    """Name and version of the runtime that created the containers."""
    calls_walked: Annotated[int, Field(ge=1)]
    """Number of system calls that were tried: all calls with numbers from 0 to one less than this."""
    calls_before: Many[_CallName]
    """Names of the system calls that pass lock one, at least with some arguments."""
    calls_after: Many[_CallName]
    """Names of the system calls that pass lock two as well."""
    attempts: Annotated[Many[EscapeAttempt], Field(min_length=1)]
    """All attacks, in the order of the suite."""

    @property
    def failures(self) -> tuple[EscapeAttempt, ...]:
        """The attacks whose result was not expected."""
        return tuple(attempt for attempt in self.attempts if attempt.verdict not in {"blocked", "open"})
