"""What tests send to a runner in a cell."""

import json
from typing import Any

from contracts.execution.execution_plan import ExecutionPlan
from supervisor.domain.policies.policy import Policies
from supervisor.domain.sandbox.hardening import model_path

__all__ = ["LABELS", "job_lines"]

LABELS = {"weos.test": "security"}


def job_lines(plan: ExecutionPlan, policies: Policies, *, max_tokens: int = 1) -> bytes:
    """What the supervisor sends: set-up, one greedy job, and leave to go."""
    lines: tuple[dict[str, Any], ...] = (
        {
            "type": "setup",
            "protocol": 1,
            "model_path": model_path(policies.sandbox),
            "context_tokens": 512,
            "threads": plan.scheduling.threads,
            "batch_tokens": 512,
            "repack": plan.scheduling.repack,
        },
        {
            "type": "job",
            "prompt": "The capital of France is",
            "messages": None,
            "parse_special": True,
            "grammar": None,
            "max_tokens": max_tokens,
            "seed": 0,
            "sampling": plan.sampling.model_dump(mode="json"),
            "stop": [],
        },
        {"type": "exit"},
    )
    return b"".join(json.dumps(line).encode("ascii") + b"\n" for line in lines)
