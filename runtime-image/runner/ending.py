"""How an abort ends this process: with an exit status of its own, the same under every kernel."""

import ctypes

__all__ = ["exit_on_abort"]

# signal(7), on x86.
SIGABRT = 6


def exit_on_abort() -> None:
    """Make abort() end the process with the number of its signal, SIGABRT, as exit status.

    Linux spares a container's first process the signal; the C library's abort() then crashes on purpose, and looks like
    any other crash. gVisor's kernel does not spare it. The C library's own `_exit` takes the signal's number as status,
    so it can be the handler; one written in Python would run too late. Lock two allows all that it needs.
    """
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    libc.signal(SIGABRT, ctypes.cast(libc._exit, ctypes.c_void_p))
