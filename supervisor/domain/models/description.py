"""What a model file says of itself, bounded and printable, to be shown. Pure."""

from supervisor.domain.models.gguf_head import GgufHead
from supervisor.domain.models.hyperparameters import Hyperparameters
from supervisor.domain.models.model_header import ModelDescription
from supervisor.domain.models.tokenizer import Tokenizer

__all__ = ["describe_model"]

MAX_CHARACTERS = 256
REPLACEMENT = "\ufffd"


def _shown(text: str | None) -> str | None:
    """Return one line of at most `MAX_CHARACTERS`; what cannot be printed becomes a replacement character."""
    if text is None:
        return None
    line = " ".join(text[: 4 * MAX_CHARACTERS].split())
    printable = "".join(character if character.isprintable() else REPLACEMENT for character in line)
    cut = printable if len(printable) <= MAX_CHARACTERS else printable[: MAX_CHARACTERS - 1] + "…"
    return cut or None


def describe_model(head: GgufHead, keys: Hyperparameters, tokenizer: Tokenizer) -> ModelDescription:
    """Return what a file says of itself.

    Raises:
        GgufError: a number that llama.cpp needs is missing or makes no sense.
    """

    def text(*names: str) -> str | None:
        shown = (_shown(head.text("general." + name)) for name in names)
        return next((line for line in shown if line is not None), None)

    return ModelDescription(
        name=text("name"),
        author=text("author", "organization"),
        license=text("license", "license.name"),
        license_link=text("license.link"),
        source=text("source.url", "repo_url", "url", "source.huggingface.repository"),
        description=text("description"),
        size_label=text("size_label"),
        tokenizer=tokenizer.kind,
        vocabulary_tokens=tokenizer.tokens,
        parameters=sum(tensor.elements for tensor in head.tensors),
        layers=keys.layers,
        embedding_length=keys.need("embedding_length"),
        experts=keys.get("expert_count"),
        experts_used=keys.experts_used(),
    )
