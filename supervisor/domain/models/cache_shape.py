"""The memory that llama.cpp allocates for the attention and the state of a model. Pure."""

from contracts.wire.document import Contract
from contracts.wire.types import Count

__all__ = ["CacheShape"]

# llama.cpp rounds the context, and the cells of a cache with a sliding window, up to a multiple of this number.
CELLS_MULTIPLE = 256


def _padded(tokens: int) -> int:
    return -(-tokens // CELLS_MULTIPLE) * CELLS_MULTIPLE


class CacheShape(Contract):
    """What the cache of a model takes, as a function of the context."""

    token_bytes: Count
    """Bytes for each token of the context: keys and values of the layers that see all of it."""
    window_token_bytes: Count
    """Bytes for each token of the window: keys and values of the layers that see only the latest tokens."""
    window_tokens: Count
    """Number of tokens of the window; 0: no layer has one."""
    state_bytes: Count
    """Bytes that do not depend on the context: the state of recurrent layers."""

    def cache_bytes(self, context_tokens: int, batch_tokens: int) -> int:
        """Return the size of the cache in bytes, for one sequence.

        Args:
            context_tokens: maximum number of tokens of prompt and answer together.
            batch_tokens: number of prompt tokens that are computed in one batch.
        """
        cells = _padded(context_tokens)
        # A batch is written to the window's cache before the tokens that it pushes out are given up.
        window_cells = min(cells, _padded(self.window_tokens + batch_tokens))
        return cells * self.token_bytes + window_cells * self.window_token_bytes + self.state_bytes
