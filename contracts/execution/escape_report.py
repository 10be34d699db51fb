"""The escape report: what was tried against one installed sandbox from inside, and what it came to."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from contracts.wire.document import Contract, Many
from contracts.wire.types import BackendName, Digest, EngineVersion, IsolationTier

__all__ = ["EscapeAttempt", "EscapeReport"]

_Words = Annotated[str, StringConstraints(min_length=1, max_length=200)]
# Names of things found can be many; the suite cuts them off.
_Answer = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
_CallName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,63}$")]


class EscapeAttempt(Contract):
    """One attack and its answer."""

    group: _Words
    """What the attack is aimed at."""
    name: _Words
    """What was tried."""
    moment: Literal["lock_one", "lock_two"]
    """`lock_one`: before the model is read, under the container's rules alone. `lock_two`: after, when the job may be
    known."""
    expected: Annotated[Many[_Answer], Field(min_length=1)]
    """Answers that it must come to: the name of an error, or `SIGSYS` for the end of the process by its filter,
    `SIGKILL` for its end for want of memory, `trapped` for a call that was not made by a process that outlived it,
    `nothing` for a look that finds nothing, `stopped` for a limit that held; `allowed` only where `note` says why it
    does no harm."""
    observed: _Answer
    """What it came to; `allowed`, and perhaps what, where it was not held back."""
    verdict: Literal["blocked", "open", "allowed", "unexpected"]
    """`blocked` and `open`: as expected; `allowed`: not blocked as it should have been; `unexpected`: blocked, but in
    another way than expected."""
    note: _Answer | None = None
    """Why an attack that is expected to succeed does no harm; null where none is."""


class EscapeReport(Contract):
    """The attacks on the sandbox of one backend in one isolation tier.

    It holds no time and nothing of chance: the same installation gives the same report. Its digest is the SHA-256 over
    its RFC 8785 form, which is also the form in which it is stored.
    """

    MAX_BYTES: ClassVar[int] = 4_194_304

    schema_version: Literal["weos.escape-report/1"]
    """Kind and version of this document."""
    engine_version: EngineVersion
    """The engine whose suite it is."""
    isolation: IsolationTier
    """Isolation tier."""
    backend: BackendName
    """The build of llama.cpp."""
    runtime_image: Digest
    """Container image of that backend, by the digest of its configuration."""
    policies: dict[str, Digest]
    """Every policy file in force, by its digest."""
    kernel: _Words
    """Release of the kernel that the container engine runs on."""
    container_engine: _Words
    """The container engine's version."""
    runtime: _Words
    """The runtime that made the containers, and its version."""
    calls_walked: Annotated[int, Field(ge=1)]
    """How many numbers of system calls were tried, from 0 on."""
    calls_before: Many[_CallName]
    """System calls that pass lock one, with some arguments at least."""
    calls_after: Many[_CallName]
    """System calls that pass lock two as well."""
    attempts: Annotated[Many[EscapeAttempt], Field(min_length=1)]
    """Every attack, in the suite's order."""

    @property
    def failures(self) -> tuple[EscapeAttempt, ...]:
        """Attacks that did not come to what was expected."""
        return tuple(attempt for attempt in self.attempts if attempt.verdict not in {"blocked", "open"})
