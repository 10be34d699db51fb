"""What a request leaves open that names a model only: file, backend, and room for prompt and answer. Pure."""

from typing import NamedTuple

from contracts.execution.run_request import LimitsRequest
from supervisor.domain.errors import Refusal
from supervisor.domain.planning.backends import best_backend
from supervisor.domain.planning.installation import Installation, InstalledModel
from supervisor.domain.policies.policy import AdmissionLimits

__all__ = ["Room", "choose_backend", "choose_room", "find_model", "model_id"]


class Room(NamedTuple):
    """Room for prompt and answer together, and for the answer, in tokens."""

    context_tokens: int
    max_tokens: int


def model_id(model: InstalledModel) -> str:
    """Return the name under which a file is found alone: `NAME:QUANTIZATION`."""
    return f"{model.name}:{model.quantization}"


def find_model(named: str, models: tuple[InstalledModel, ...]) -> InstalledModel:
    """Return the installed model that `NAME:QUANTIZATION` names, or `NAME` if it is installed in one quantization.

    Raises:
        Refusal: ``unknown_model`` or ``unknown_quantization``.
    """
    name, _, quantization = named.partition(":")
    same_name = [model for model in models if model.name == name]
    found = [model for model in same_name if not quantization or model.quantization == quantization]
    if len(found) == 1 and named in {name, model_id(found[0])}:
        return found[0]
    available = tuple(sorted(map(model_id, same_name or models)))
    if not same_name:
        detail = "no model of this name is installed; install a model with: weos-engine models add"
        raise Refusal("unknown_model", detail, field="/model", available=available)
    if named == name:
        detail = f"the model '{name}' is installed in several quantizations; name one of them"
        raise Refusal("unknown_quantization", detail, field="/model", available=available)
    detail = f"the model '{name}' is not installed in this quantization"
    raise Refusal("unknown_quantization", detail, field="/model", available=available)


def choose_backend(installation: Installation) -> str:
    """Return the best backend that is installed and runs on this processor.

    Raises:
        Refusal: ``image_missing``, there is none.
    """
    flags = installation.host.cpu_flags
    runnable = [each for each in installation.backends if each.required_cpu_flags <= flags]
    best = best_backend(each.name for each in runnable if each.image_id is not None)
    if best is None:
        possible = best_backend(each.name for each in runnable)
        how = f"; build one with: weos-engine images build {possible}" if possible else ""
        raise Refusal("image_missing", f"no installed backend runs on this processor{how}")
    return best


def choose_room(asked_tokens: int | None, prompt_tokens_most: int, limits: AdmissionLimits, context_max: int) -> Room:
    """Return room in which the prompt and the answer surely fit, as far as policy and model allow.

    The context is the policy's default, doubled until both fit. Few different contexts mean that a sandbox made ahead
    for one request serves others too.

    Args:
        asked_tokens: maximum number of tokens of the answer; None: as many as surely fit, at least half the policy's
            default context where the largest context has so many.
        prompt_tokens_most: number of tokens that the prompt has at most.
        limits: the policy's bounds.
        context_max: largest context of the model.
    """
    most = min(limits.context_tokens_max, context_max)
    wanted = limits.context_tokens_default // 2 if asked_tokens is None else asked_tokens
    context_tokens = limits.context_tokens_default
    while context_tokens < min(most, prompt_tokens_most + wanted):
        context_tokens *= 2
    context_tokens = min(context_tokens, most)
    if asked_tokens is not None:
        return Room(context_tokens, asked_tokens)
    # A prompt mostly has far fewer tokens than it may have. One that might fill the whole context leaves its answer the
    # tokens that a Run Request gets by default.
    least = min(LimitsRequest().max_tokens, max(1, context_tokens // 2))
    return Room(context_tokens, min(max(least, context_tokens - prompt_tokens_most), limits.max_tokens))
