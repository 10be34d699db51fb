"""Tokens per second of the real runner beside llama-bench, in pairs; and what virtual memory management costs."""

import json
import subprocess
from pathlib import Path
from statistics import median

from benchmarks.measuring.pairing import Pair, alternate, ratios
from tests.gpu.on_card.bench import Bench
from tests.gpu.on_card.filters import ALLOWS_ALL
from tests.gpu.on_card.runner_process import Job

__all__ = ["describe_offload", "prove_speed", "prove_vmm"]

PAIRS = 4
DECODED_TOKENS = 512
PROMPT_WORDS = 490
REHEARSED_WORDS = 20
BATCH_TOKENS = 512
BENCH_TIMEOUT_S = 90
SENTENCE = "the old man walked along the river and looked at the water while the sun went down behind the hills"
STORY = "Once upon a time, in a small village by the sea, there lived an old fisherman who"


def _long_prompt(bench: Bench) -> str:
    words = REHEARSED_WORDS if bench.is_rehearsal else PROMPT_WORDS
    sentence = SENTENCE.split()
    return " ".join(sentence[index % len(sentence)] for index in range(words))


def _pair_count(bench: Bench) -> int:
    return 1 if bench.is_rehearsal else PAIRS


def _prompt_tokens(bench: Bench) -> int:
    return REHEARSED_WORDS if bench.is_rehearsal else BATCH_TOKENS


def _llama_bench(bench: Bench, libraries: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**bench.environment(), "LD_LIBRARY_PATH": ":".join((str(libraries), *bench.library_path))}
    command = [str(bench.libraries.parent / "llama-bench"), "-m", str(bench.model), "-o", "json", "-t", "1", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=BENCH_TIMEOUT_S, check=True)


def _bench_speed(bench: Bench, libraries: Path, *, prompt: int, tokens: int, repeats: int = 1) -> float:
    done = _llama_bench(bench, libraries, "-p", str(prompt), "-n", str(tokens), "-r", str(repeats))
    return float(json.loads(done.stdout)[0]["avg_ts"])


def describe_offload(bench: Bench) -> list[str]:
    """Return what llama.cpp says of where the layers and the cache lie."""
    done = _llama_bench(bench, bench.libraries, "-p", "0", "-n", "1", "-r", "1", "-v")
    words = ("offload", "buffer size", "graph splits", "VRAM", "Device 0", "VMM", "flash", "Flash")
    return [line.strip() for line in done.stderr.splitlines() if any(word in line for word in words)][:40]


def _pairs(pairs: list[Pair]) -> dict[str, object]:
    return {
        "runner": [round(pair.ours, 1) for pair in pairs],
        "llama_bench": [round(pair.peer, 1) for pair in pairs],
        "runner_median": median(pair.ours for pair in pairs),
        "llama_bench_median": median(pair.peer for pair in pairs),
        "ratio_median": median(ratios(pairs)),
    }


def prove_speed(bench: Bench) -> dict[str, object]:
    """Measure decoding and prefill in pairs, in an order drawn for each two pairs."""
    directory = bench.install(ALLOWS_ALL)
    decode, prefill, first_prefill = [], [], []
    for ours_first in alternate(_pair_count(bench), seed=1):
        peers: dict[str, float] = {}
        if not ours_first:
            peers = _peer_speeds(bench)
        answer = bench.run(directory, bench.plain(), Job(STORY, bench.count(DECODED_TOKENS)))
        # The narrow warm-up leaves the kernels of a batch to the first job; the wide one computes them before.
        cold = bench.run(directory, bench.plain(), Job(_long_prompt(bench), 2))
        warm = bench.run(directory, bench.plain(), Job(_long_prompt(bench), 2), is_wide=True)
        peers = peers or _peer_speeds(bench, prompt=warm.prompt_tokens)
        decode.append(Pair(answer.decode_tokens_per_s, peers["decode"]))
        prefill.append(Pair(warm.prefill_tokens_per_s, peers["prefill"]))
        first_prefill.append(Pair(cold.prefill_tokens_per_s, peers["prefill"]))
    return {
        "decode": {"tokens": DECODED_TOKENS, **_pairs(decode)},
        "prefill_after_wide_warm_up": {"prompt_tokens": warm.prompt_tokens, **_pairs(prefill)},
        "prefill_after_the_runners_own_warm_up": _pairs(first_prefill),
    }


def _peer_speeds(bench: Bench, prompt: int | None = None) -> dict[str, float]:
    return {
        "decode": _bench_speed(bench, bench.libraries, prompt=0, tokens=bench.count(DECODED_TOKENS)),
        "prefill": _bench_speed(bench, bench.libraries, prompt=prompt or _prompt_tokens(bench), tokens=0, repeats=3),
    }


def prove_vmm(bench: Bench) -> dict[str, object]:
    """Compare llama.cpp with and without CUDA's virtual memory management, in pairs: with it over without it."""
    if bench.vmm_libraries is None:
        return {"fault": "it was not compiled with virtual memory management"}
    results: dict[str, list[Pair]] = {"decode": [], "prefill": [], "ready_ms": []}
    on, off = bench.install(ALLOWS_ALL, bench.vmm_libraries), bench.install(ALLOWS_ALL)
    for on_first in alternate(_pair_count(bench), seed=2):
        measured: dict[Path, tuple[float, float, float]] = {}
        for directory in (on, off) if on_first else (off, on):
            libraries = bench.vmm_libraries if directory == on else bench.libraries
            ready = bench.run(directory, bench.plain(), Job(STORY, 8)).ready_after_ns / 1e6
            measured[directory] = (
                _bench_speed(bench, libraries, prompt=0, tokens=bench.count(DECODED_TOKENS)),
                _bench_speed(
                    bench, libraries, prompt=_prompt_tokens(bench), tokens=0, repeats=1 if bench.is_rehearsal else 3
                ),
                ready,
            )
        for name, index in (("decode", 0), ("prefill", 1), ("ready_ms", 2)):
            results[name].append(Pair(measured[on][index], measured[off][index]))
    return {
        name: {
            "with": [round(pair.ours, 1) for pair in pairs],
            "without": [round(pair.peer, 1) for pair in pairs],
            "ratio_median": median(ratios(pairs)),
        }
        for name, pairs in results.items()
    }
