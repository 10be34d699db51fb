"""Which backend is taken where nobody has chosen one. Pure."""

from collections.abc import Iterable

__all__ = ["BEST_FIRST", "best_backend"]

# More instruction sets, faster arithmetic. `runtime-image/backends.toml` says what each one needs of a processor.
BEST_FIRST = ("cpu_avx512", "cpu_avx2", "cpu_x86_64")


def best_backend(usable: Iterable[str]) -> str | None:
    """Return the best of the backends that are installed and run on this processor; None: there is none.

    Args:
        usable: names of backends. A name that is not in `BEST_FIRST` comes after all others.
    """
    return min(usable, key=_rank, default=None)


def _rank(name: str) -> tuple[int, str]:
    return (BEST_FIRST.index(name) if name in BEST_FIRST else len(BEST_FIRST), name)
