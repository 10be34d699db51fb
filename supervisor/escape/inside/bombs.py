"""Attacks that use up resources. Each ends by itself slightly beyond the limit, so it does no harm without a limit."""

import _thread
import os
from typing import Any

from supervisor.escape.inside.tools import ALLOWED

__all__ = ["Bombs"]

STOPPED = "stopped"
CHUNK_BYTES = 1 << 24
PAGE_BYTES = 4096
BEYOND_BYTES = 1 << 28


class Bombs:
    """Names for the expressions of attacks."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self._threads: int = facts["threads_tried"]
        self._memory_bytes: int = facts["memory_bytes"]
        self._descriptors_max: int = facts["descriptors_max"]

    def thread_bomb(self) -> str:
        """Start threads that never end."""
        wait = _thread.allocate_lock()
        wait.acquire()
        for _ in range(self._threads):
            try:
                _thread.start_new_thread(wait.acquire, ())
            except RuntimeError:
                return STOPPED
        return ALLOWED

    def memory_bomb(self) -> str:
        """Use more memory than the plan allows."""
        kept = []
        for _ in range(0, self._memory_bytes + BEYOND_BYTES, CHUNK_BYTES):
            chunk = bytearray(CHUNK_BYTES)
            chunk[::PAGE_BYTES] = b"x" * (CHUNK_BYTES // PAGE_BYTES)
            kept.append(chunk)
        return ALLOWED

    def descriptor_bomb(self) -> str:
        """Open more descriptors than are allowed."""
        try:
            for _ in range(2 * self._descriptors_max):
                os.dup(0)
        except OSError:
            return STOPPED
        return ALLOWED
