"""Compute the logits of every position of a text with the runner's own model module, token by token.

Usage: ``compute_logits.py DIRECTORY MODEL THREADS``. DIRECTORY is that of `start_runner`; the text comes on standard
input. Writes for each position the token at it, as a 32-bit integer, and then the logits after it, as 32-bit floats.
"""

import array
import ctypes
import os
import sys
from pathlib import Path

CONTEXT_TOKENS = 512


def main(directory: Path, model_file: str, threads: int) -> None:
    """Write the logits to standard output."""
    sys.path.insert(0, str(directory / "lib"))
    import llama_cpp.llama_cpp as bindings  # type: ignore[import-not-found] # noqa: PLC0415 - found in DIRECTORY

    from runner.model import LlamaModel  # noqa: PLC0415 - as above
    from runner.protocol import Setup  # noqa: PLC0415 - as above

    model = LlamaModel(Setup(model_file, CONTEXT_TOKENS, threads, CONTEXT_TOKENS, False))
    size = bindings.llama_vocab_n_tokens(model._vocab)
    tokens = model.tokenize(sys.stdin.read(), parse_special=True)
    with os.fdopen(os.dup(1), "wb") as output:
        for token in tokens:
            model.decode(token)
            logits = bindings.llama_get_logits_ith(model._context, -1)
            array.array("i", [token]).tofile(output)
            output.write(ctypes.string_at(logits, size * 4))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
