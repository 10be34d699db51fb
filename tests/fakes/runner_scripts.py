"""Runners for `FakeSandbox` to play: what the other end of a `Sandbox` says."""

import asyncio
from typing import Any

from supervisor.adapters.policies import load_policies
from tests.fakes.sandboxes import FakeSandbox, Script
from tests.places import REPOSITORY

__all__ = ["LOCKDOWN_POLICY", "MODEL", "READY", "HeldRunner", "answering", "saying"]

LOCKDOWN_POLICY = load_policies(REPOSITORY / "policies").digests["lockdown.json"]
MODEL = {
    "architecture": "llama",
    "context_length": 8192,
    "description": "llama 134M Q4_1",
    "has_chat_template": True,
}
READY = {
    "type": "ready",
    "protocol": 1,
    "backend": "cpu_avx2",
    "cpu_features": ["AVX2", "FMA"],
    "llama_cpp_version": "0.3.36",
    "model": MODEL,
    "lockdown_policy": LOCKDOWN_POLICY,
}


def answering(texts: list[str], *, finish_reason: str = "eos", delay_s: float = 0.0) -> Script:
    """A well-behaved runner that generates these tokens."""

    async def script(sandbox: FakeSandbox, line_index: int) -> None:
        if line_index == 0:
            sandbox.say(READY)
        elif line_index == 1:
            sandbox.say({"type": "prompt", "tokens": 5})
            for index, text in enumerate(texts):
                await asyncio.sleep(delay_s)
                sandbox.say({"type": "token", "index": index, "token_id": index, "text": text})
            sandbox.say({"type": "done", "finish_reason": finish_reason, "tokens": len(texts), "text": ""})

    return script


def saying(*events: dict[str, Any] | bytes, first: dict[str, Any] | bytes = READY) -> Script:
    """A runner that says `first` after its set-up and `events` after its job, even where the protocol forbids it."""

    async def script(sandbox: FakeSandbox, line_index: int) -> None:
        for event in ((first,), events)[line_index] if line_index < 2 else ():
            sandbox.say(event)

    return script


class HeldRunner:
    """A well-behaved runner that says one token and then waits until it is let go."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def __call__(self, sandbox: FakeSandbox, line_index: int) -> None:
        """Play the script."""
        if line_index == 0:
            sandbox.say(READY)
        elif line_index == 1:
            sandbox.say({"type": "prompt", "tokens": 5})
            sandbox.say({"type": "token", "index": 0, "token_id": 0, "text": "first"})
            await self.gate.wait()
            sandbox.say({"type": "token", "index": 1, "token_id": 1, "text": " last"})
            sandbox.say({"type": "done", "finish_reason": "eos", "tokens": 2, "text": ""})
