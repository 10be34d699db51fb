"""The judgement of a model file by its head: what the engine needs to know, or why it is refused. Pure."""

from contracts.wire.document import sha256_digest
from contracts.wire.types import Digest
from supervisor.domain.models.cache_size import size_cache
from supervisor.domain.models.description import describe_model
from supervisor.domain.models.gguf_head import ARRAY, STRING, GgufError, GgufHead
from supervisor.domain.models.hyperparameters import Hyperparameters
from supervisor.domain.models.kinds import require_text_model
from supervisor.domain.models.model_header import GgufHeader
from supervisor.domain.models.quantization import judge_quantization, measure_mixture
from supervisor.domain.models.tokenizer import require_tokenizer

__all__ = ["judge_head"]

CHAT_TEMPLATE_KEY = "tokenizer.chat_template"
# The largest published templates have some 20 KiB.
MAX_TEMPLATE_BYTES = 1_048_576


def _chat_template(head: GgufHead) -> Digest | None:
    value = head.values.get(CHAT_TEMPLATE_KEY)
    if value is None or value.kind == ARRAY:
        return None
    if value.kind != STRING:
        # llama.cpp would take the number for a template.
        message = f"its chat template ({CHAT_TEMPLATE_KEY}) is no text"
        raise GgufError(message)
    # As llama.cpp reads it: as a C string.
    template = bytes(value.data[: MAX_TEMPLATE_BYTES + 1]).split(b"\0", 1)[0]
    if not 0 < len(template) <= MAX_TEMPLATE_BYTES:
        return None
    try:
        template.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return sha256_digest(template)


def judge_head(head: GgufHead) -> GgufHeader:
    """Take from a file's head what the engine needs, and hold it against the tensors.

    Raises:
        GgufError: the file is no model that llama.cpp can generate text with, or is not what it says.
    """
    architecture = require_text_model(head)
    tokenizer = require_tokenizer(head)
    keys = Hyperparameters(head, architecture)
    return GgufHeader(
        architecture=architecture,
        quantization=judge_quantization(head),
        context_length=keys.need("context_length"),
        cache=size_cache(keys),
        mixture=measure_mixture(head),
        chat_template=_chat_template(head),
        description=describe_model(head, keys, tokenizer),
    )
