"""Try one parser under a coverage-guided fuzzer: `python -m tests.fuzz.harness TARGET DIRECTORY [libFuzzer's options]`.

The directory keeps what the fuzzer has learned (`corpus/`), for the next time, and the bytes that broke a parser.

Ends with status 0 when the runs or the time asked for are over (`-runs=`, `-max_total_time=`), with another when
a parser breaks its promise.
"""

import importlib
import sys
from functools import partial
from pathlib import Path

import atheris

# What is led by coverage: our own parsers, and the standard library's as far as they are Python.
INSTRUMENTED = ["contracts", "supervisor.adapters", "supervisor.domain", "runner", "json.decoder", "tests.fuzz.targets"]

# What is no JSON is changed by libFuzzer's own means.
BYTES_ONLY = {"gguf", "proof"}


def _mutate_bytes(data: bytes, max_size: int) -> bytes:
    # Looked up when it is called: atheris puts the real one in place when fuzzing begins.
    changed: bytes = atheris.Mutate(data, max_size)
    return changed


def main() -> None:
    """Fuzz until libFuzzer ends the process."""
    name, directory, *options = sys.argv[1:]
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "runtime-image"))
    # Whatever is to be instrumented must not have been imported before.
    with atheris.instrument_imports(include=INSTRUMENTED):
        targets = importlib.import_module("tests.fuzz.targets")
    mutation = importlib.import_module("tests.fuzz.mutation")
    seeds = importlib.import_module("tests.fuzz.seeds")
    mutator = partial(mutation.mutate_json_lines, mutate_bytes=_mutate_bytes)
    corpus, words = Path(directory, "corpus"), Path(directory, "words")
    seeds.write_seeds(name, corpus)
    words.write_text(seeds.DICTIONARY, encoding="ascii")
    # Few changes at once: after five of them hardly an input is a document any more.
    ours = ["-mutate_depth=2", "-keep_seed=1", f"-dict={words}", f"-artifact_prefix={directory}/"]
    atheris.Setup(
        [sys.argv[0], *ours, *options, str(corpus)],
        targets.TARGETS[name],
        **({} if name in BYTES_ONLY else {"custom_mutator": mutator}),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
