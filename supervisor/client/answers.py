"""One execution as its caller follows it: the text as it comes, then the whole result."""

import base64
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from supervisor.client.engine_client import EngineClient
from supervisor.domain.errors import EngineError

__all__ = ["Answer", "explain_empty_answer", "read_prompt_format"]


@dataclass
class Answer:
    """The answer to one request while it comes."""

    client: EngineClient
    execution_id: str | None = field(default=None, init=False)
    """The execution; None: the request is not accepted yet."""

    def follow(self, request: dict[str, Any] | bytes, on_text: Callable[[str], None]) -> dict[str, Any]:
        """Execute a request and return the last event's document, a StreamDone.

        Args:
            request: a Run Request; bytes are sent unchanged.
            on_text: gets each piece of text as it comes.

        Raises:
            EngineError: the request was refused or did not complete.
        """
        with closing(self.client.stream_run(request)) as events:
            for event in events:
                if event.name == "started":
                    self.execution_id = event.document["execution_id"]
                elif event.name == "token":
                    on_text(event.document["text"])
                elif event.name == "error":
                    raise EngineError(event.document["code"], event.document["detail"])
                elif event.name == "done":
                    on_text(event.document["rest"])
                    return event.document
        raise EngineError("engine_unavailable", "the supervisor ended the stream without a result; see its log")

    def describe_wait(self) -> str:
        """Return what an execution is waiting for, in words."""
        if self.execution_id is None:
            return "waiting for the supervisor"
        try:
            view = self.client.get(f"/v1/runs/{self.execution_id}")
        except EngineError:
            return "waiting for the supervisor"
        if view["status"] == "queued":
            place = view["queue_position"]
            return "waiting for free cores" + ("" if place is None else f": place {place} in the queue")
        return "the answer is coming" if view["output"] else "the sandbox starts, and the model reads the prompt"


def read_prompt_format(client: EngineClient, view: dict[str, Any]) -> str:
    """Return `chat` or `raw`, as the record of an ended execution says.

    Raises:
        EngineError: like `EngineClient.get`.
    """
    payload = json.loads(base64.b64decode(client.get(view["record"])["payload"]))
    return str(payload["predicate"]["plan"]["prompt_format"])


def explain_empty_answer(prompt_format: str, finish_reason: str | None) -> str:
    """Return why an answer without text is no fault of the engine, and what to try."""
    if finish_reason == "stop":
        return "The answer is empty: a stop text came first. Leave out --stop, or choose another text."
    if finish_reason == "length":
        return "The answer is empty so far: the limit came before any visible text. Raise --max-tokens."
    if prompt_format == "raw":
        return (
            "The answer is empty: the model ended it at once. The prompt went to the model unchanged (raw), so the "
            "model saw a finished text. Ask with --format chat, or give the beginning of a text that goes on."
        )
    return (
        "The answer is empty: the model ended it at once. Small models do that with some questions. Ask in other "
        "words, or draw another answer with --temperature 0.7 --seed 1."
    )
