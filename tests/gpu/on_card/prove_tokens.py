"""The real runner on the card: its tokens, beside those of the processor."""

import os
from dataclasses import replace
from pathlib import Path

from tests.gpu.on_card.bench import Bench
from tests.gpu.on_card.card import process_memory
from tests.gpu.on_card.filters import ALLOWS_ALL
from tests.gpu.on_card.runner_process import Answer, Job
from tests.gpu.on_card.shape import Shape

__all__ = ["PROMPTS", "prove_tokens"]

TOKENS = 64
PROMPTS = {
    "plain": "The capital of Portugal is Lisbon. The capital of France is",
    "story": "Once upon a time, in a small village by the sea, there lived an old fisherman who",
    "chat": "<|im_start|>user\nName three rivers of Europe.<|im_end|>\n<|im_start|>assistant\n",
}
# The card is not there for a process that is told so.
NO_CARD = {"CUDA_VISIBLE_DEVICES": ""}


def _first_difference(ours: Answer, theirs: Answer) -> dict[str, object] | None:
    for index, (one, other) in enumerate(zip(ours.tokens, theirs.tokens, strict=False)):
        if one != other:
            return {"index": index, "card": one, "processor": other}
    if len(ours.tokens) != len(theirs.tokens):
        return {"index": min(len(ours.tokens), len(theirs.tokens)), "card": None, "processor": None}
    return None


def prove_tokens(bench: Bench) -> dict[str, object]:
    """Generate greedily on the card twice and on the processor once, for each prompt."""
    directory = bench.install(ALLOWS_ALL)
    cases: dict[str, object] = {}
    for name, prompt in PROMPTS.items():
        job = Job(prompt, bench.count(TOKENS), threads=1)
        card, memory_bytes = _on_card(bench, directory, bench.plain(), job)
        again, _ = _on_card(bench, directory, bench.plain(), job)
        threads = min(8, len(os.sched_getaffinity(0)))
        processor = bench.run(directory, bench.plain(**NO_CARD), replace(job, threads=threads))
        cases[name] = {
            "prompt": prompt,
            "prompt_tokens": card.prompt_tokens,
            "tokens_compared": min(len(card.tokens), len(processor.tokens)),
            "first_difference": _first_difference(card, processor),
            "on_card": [card.on_card, again.on_card],
            "processor_was_on_card": processor.on_card,
            "card_equals_itself": card.tokens == again.tokens,
            "card": {"tokens": card.tokens, "text": card.text, "finish_reason": card.finish_reason},
            "processor": {"tokens": processor.tokens, "text": processor.text},
            "card_memory_bytes": memory_bytes,
            "ready_after_ms": {
                "card": [card.ready_after_ns // 10**6, again.ready_after_ns // 10**6],
                "processor": processor.ready_after_ns // 10**6,
            },
            "decode_tokens_per_s": {"card": card.decode_tokens_per_s, "processor": processor.decode_tokens_per_s},
            "features": card.features,
        }
    return cases


def _on_card(bench: Bench, directory: Path, shape: Shape, job: Job) -> tuple[Answer, int | None]:
    with bench.loaded(directory, shape, job) as runner:
        memory_bytes = process_memory(bench.card, runner.pid)
        answer = runner.answer(job)
        runner.end()
        return answer, memory_bytes
