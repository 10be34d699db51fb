"""Which backend is taken where nobody has chosen one. Pure."""

from collections.abc import Collection, Iterable, Mapping

__all__ = ["BEST_FIRST", "best_backend", "choose_build"]

# More instruction sets, faster arithmetic. `runtime-image/backends.toml` says what each one needs of a processor.
BEST_FIRST = ("cpu_avx512", "cpu_avx2", "cpu_x86_64")
# What set-up compiles, the better one first. The specification's own request names `cpu_avx2`, so a processor with
# AVX-512 gets it too: a second compilation would double the time of set-up, and only who wants it should pay for it.
BUILT_AT_SET_UP = ("cpu_avx2", "cpu_x86_64")


def best_backend(usable: Iterable[str]) -> str | None:
    """Return the best of the backends that are installed and run on this processor; None: there is none.

    Args:
        usable: names of backends. A name that is not in `BEST_FIRST` comes after all others.
    """
    return min(usable, key=_rank, default=None)


def choose_build(required: Mapping[str, Collection[str]], cpu_flags: Collection[str]) -> str | None:
    """Return the backend that set-up builds for a processor; None: the processor runs none of them.

    Args:
        required: for each defined backend the names of /proc/cpuinfo that a processor must have.
        cpu_flags: the names that this processor has.
    """
    runs = (name for name in BUILT_AT_SET_UP if name in required and set(required[name]) <= set(cpu_flags))
    return next(runs, None)


def _rank(name: str) -> tuple[int, str]:
    return (BEST_FIRST.index(name) if name in BEST_FIRST else len(BEST_FIRST), name)
