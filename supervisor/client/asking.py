"""A Run Request from what a person chose; what was left open is left out, so that the engine's defaults apply."""

from dataclasses import dataclass
from typing import Any

from supervisor.client.choices import Target

__all__ = ["DEFAULT_SYSTEM", "Choices", "Turn", "build_request"]

# What the model is told where a person says nothing. Templates have sentences of their own for that case, with which
# small models answer worse.
DEFAULT_SYSTEM = "You are a helpful assistant."

Turn = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Everything about an execution except its model and its prompt; None: not chosen."""

    max_tokens: int | None = None
    max_watts: float | None = None
    timeout_s: int | None = None
    context_tokens: int | None = None
    scheduler_policy: str | None = None
    isolation: str | None = None
    prompt_format: str | None = None
    grammar: str | None = None
    json_schema: dict[str, Any] | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def as_execution(self) -> dict[str, Any]:
        """Return the choices as parts of `execution`."""
        return _chosen(
            limits=_chosen(max_tokens=self.max_tokens, max_watts=self.max_watts, timeout_s=self.timeout_s),
            context_tokens=self.context_tokens,
            scheduler_policy=self.scheduler_policy,
            isolation=self.isolation,
            prompt_format=self.prompt_format,
            grammar=self.grammar,
            json_schema=self.json_schema,
            stop=list(self.stop) or None,
            seed=self.seed,
            sampling=_chosen(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, min_p=self.min_p),
        )


def build_request(target: Target, asked: str | list[Turn], choices: Choices) -> dict[str, Any]:
    """Return the Run Request that asks a prompt, or the messages of a conversation."""
    return {
        "model": target.model,
        "prompt" if isinstance(asked, str) else "messages": asked,
        "execution": {"backend": target.backend, "quantization": target.quantization, **choices.as_execution()},
    }


def _chosen(**parts: Any) -> dict[str, Any]:  # noqa: ANN401 - any part of a request
    # An empty JSON Schema is a choice: it accepts every JSON document.
    return {name: part for name, part in parts.items() if part is not None and (part != {} or name == "json_schema")}
