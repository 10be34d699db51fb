"""From the bytes of tokens to text that can no longer change: whole characters, cut at a stop sequence."""

import codecs
from collections.abc import Sequence

__all__ = ["TextStream"]

# Looked up when the module loads: a codec found for the first time is a file read.
_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class TextStream:
    """Incremental text of one generation.

    Bytes are held back while they are the beginning of a character, text while it is the beginning of a
    stop sequence. The result does not depend on how the bytes are cut into tokens: the stop sequence that
    is complete first wins, and of those complete at the same character the longest.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(stop)
        self._decoder = _utf8_decoder("replace")
        self._held = ""
        self.stopped = False

    def feed(self, data: bytes) -> str:
        """Take the bytes of one token; return the text that is now certain."""
        return self._advance(self._decoder.decode(data))

    def finish(self) -> str:
        """Return what was held back, at the end of a generation that no stop sequence ended."""
        text = self._advance(self._decoder.decode(b"", final=True))
        if self.stopped:
            return text
        held, self._held = self._held, ""
        return text + held

    def _advance(self, text: str) -> str:
        if self.stopped:
            return ""
        pending = self._held + text
        cut = self._stop_start(pending)
        if cut is not None:
            self.stopped = True
            self._held = ""
            return pending[:cut]
        keep = self._held_chars(pending)
        self._held = pending[len(pending) - keep :]
        return pending[: len(pending) - keep]

    def _stop_start(self, pending: str) -> int | None:
        found = [(start + len(stop), start) for stop in self._stop if (start := pending.find(stop)) >= 0]
        return min(found)[1] if found else None

    def _held_chars(self, pending: str) -> int:
        longest = 0
        for stop in self._stop:
            for chars in range(min(len(stop) - 1, len(pending)), longest, -1):
                if pending.endswith(stop[:chars]):
                    longest = chars
                    break
        return longest
