"""What the head of a model file says, as far as the engine uses or shows it."""

from dataclasses import dataclass

from contracts.execution.execution_plan import TensorTypeCount
from contracts.wire.types import Digest
from supervisor.domain.models.cache_shape import CacheShape

__all__ = ["GgufHeader", "ModelDescription"]


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What the file says of itself, to be shown. The texts are the author's: bounded, printable, and not verified."""

    name: str | None
    """`general.name`; None: the file does not say."""
    author: str | None
    """`general.author` or `general.organization`; None: the file does not say."""
    license: str | None
    """`general.license`, usually an SPDX identifier; None: the file does not say."""
    license_link: str | None
    """`general.license.link`; None: the file does not say."""
    source: str | None
    """Where the model comes from: `general.source.url` or `general.repo_url`; None: the file does not say."""
    description: str | None
    """`general.description`; None: the file does not say."""
    size_label: str | None
    """`general.size_label`, such as `7B` or `8x7B`; None: the file does not say."""
    tokenizer: str
    """Kind of tokenizer, such as `gpt2 (llama-bpe)`."""
    vocabulary_tokens: int
    """Number of tokens that the tokenizer knows."""
    parameters: int
    """Number of weights in all tensors."""
    layers: int
    """Number of layers (`block_count`)."""
    embedding_length: int
    """Number of values that stand for a token between two layers."""
    experts: int
    """Number of experts of each layer; 0: the model has none."""
    experts_used: int
    """Number of experts that compute a token; 0: the model has none."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """The facts that the engine needs."""

    architecture: str
    quantization: str
    context_length: int
    """Number of tokens that the model was trained for."""
    cache: CacheShape
    mixture: tuple[TensorTypeCount, ...]
    """The types of the weights, the most frequent first."""
    chat_template: Digest | None
    """SHA-256 of the chat template; None: the file carries none."""
    description: ModelDescription
