"""What an execution waits for, in words."""

from typing import Any

import pytest

from supervisor.client.answers import Answer
from supervisor.domain.errors import EngineError


class Client:
    """Knows one execution."""

    def __init__(self, view: dict[str, Any] | None) -> None:
        self._view = view

    def get(self, path: str) -> Any:
        if self._view is None:
            raise EngineError("engine_unavailable", path)
        return self._view


def described(view: dict[str, Any] | None, execution_id: str | None = "exec_1") -> str:
    answer = Answer(Client(view))  # type: ignore[arg-type] # all that it is asked for
    answer.execution_id = execution_id
    return answer.describe_wait()


@pytest.mark.parametrize(
    ("view", "words"),
    [
        ({"status": "queued", "queue_position": 3, "output": ""}, "place 3 in the queue"),
        ({"status": "queued", "queue_position": None, "output": ""}, "free cores"),
        ({"status": "running", "queue_position": None, "output": ""}, "the model reads the prompt"),
        ({"status": "running", "queue_position": None, "output": "a"}, "the answer is coming"),
        (None, "waiting for the supervisor"),
    ],
)
def test_each_state_has_its_words(view: dict[str, Any] | None, words: str) -> None:
    assert words in described(view)


def test_before_the_acceptance_nobody_is_asked() -> None:
    assert described({}, execution_id=None) == "waiting for the supervisor"
