"""One line of what `doctor` shows."""

from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A subject, what was found and the consequence; ``good`` is None where it is neither good nor bad."""

    subject: str
    found: str
    follows: str
    good: bool | None = True
