"""Start the real runner outside of its image: its own modules, with the build's file and lock two from elsewhere.

Usage: ``start_runner.py DIRECTORY [wide]``. DIRECTORY holds lib/ (runner, shims and bindings), build.json and the
programs of lock two. With ``wide`` the warm-up computes a whole batch and some tokens, as a backend must whose kernels
are loaded at first use.
"""

import sys
from pathlib import Path

WIDE_DECODES = 4
# Batches of every size that llama.cpp has other kernels for, the largest last.
SIZES = (2, 4, 8, 16, 32, 64, 128, 256, 512)


def warm_up_widely() -> None:
    """Have the runner's warm-up compute what a job computes."""
    import llama_cpp.llama_cpp as bindings  # type: ignore[import-not-found] # noqa: PLC0415 - found in DIRECTORY

    from runner.model import LlamaModel  # noqa: PLC0415 - as above

    narrow = LlamaModel.warm_up

    def wide(model: LlamaModel) -> None:
        first = max(0, bindings.llama_vocab_bos(model._vocab))
        for tokens in SIZES:
            model.prefill([first] * min(tokens, model._batch_tokens))
            for _ in range(WIDE_DECODES):
                model.decode(first)
            # It ends with an empty context.
            narrow(model)

    LlamaModel.warm_up = wide  # type: ignore[assignment,method-assign] # what this option is for


def main(directory: Path, *, is_wide: bool) -> int:
    """Run the runner and return its exit status."""
    sys.path.insert(0, str(directory / "lib"))
    import runner.lockdown  # noqa: PLC0415 - as above
    import runner.main  # noqa: PLC0415 - as above

    runner.main.BUILD_FILE = directory / "build.json"
    runner.lockdown.PROGRAM_DIRECTORY = directory
    if is_wide:
        warm_up_widely()
    return runner.main.main()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), is_wide="wide" in sys.argv[2:]))
