"""Filter programs like those of a real sandbox: lock one from `seccomp.json`, lock two as bytes of any content."""

__all__ = ["LOCK_TWO", "lock_one"]

LOCK_TWO = b"\x06\x00\x00\x00\x00\x00\x00\x80"


def lock_one() -> bytes:
    """Return the program of the repository's own lock one."""
    # Only here: a program that a test starts finds the compiler of the runtime image not by itself.
    from tests.fakes import compiled_filters  # noqa: PLC0415

    return compiled_filters.lock_one()
