"""Whether a file is a language model at all: llama.cpp's other files have the same format. Pure."""

import re

from supervisor.domain.models.architectures import NO_TEXT, TEXT
from supervisor.domain.models.gguf_head import GgufError, GgufHead

__all__ = ["require_text_model"]

_ADAPTER = "it is a {} adapter, not a model; merge it into its base model with llama-export-lora and add the result"
_IMATRIX = "it is an importance matrix for llama-quantize, not a model; add a model"
_CONTROL_VECTOR = "it is a control vector, not a model; add the model that it belongs to"
# `general.type` (GGUFType in the package `gguf`).
_TYPES = {
    "adapter": _ADAPTER.format("LoRA"),
    "imatrix": _IMATRIX,
    "mmproj": NO_TEXT["clip"],
}
_POOLING_NONE, _POOLING_RANK, _POOLING_UNSPECIFIED = 0, 4, 2**32 - 1
_RERANKER = "it is a reranker or classifier, which yields scores and no text; add a model that generates text"


def _refuse_parts(head: GgufHead) -> None:
    count, number = (_count(head, f"split.{what}") for what in ("count", "no"))
    if count > 1:
        message = (
            f"it is part {number + 1} of {count} of a split model; merge the parts with: "
            "llama-gguf-split --merge FIRST_PART MERGED_FILE"
        )
        raise GgufError(message)


def _count(head: GgufHead, key: str) -> int:
    # Written as a 16-bit number; what llama.cpp makes of another type does not matter here.
    value = head.values.get(key)
    return 0 if value is None else int.from_bytes(value.data[:8], "little")


def _refuse_companions(head: GgufHead) -> None:
    kind = head.text("general.type")
    if kind in _TYPES:
        raise GgufError(_TYPES[kind])
    names = {tensor.name for tensor in head.tensors}
    if "adapter.type" in head.values:
        raise GgufError(_ADAPTER.format("LoRA"))
    # One architecture carries its adapters in the model's own file.
    if any(name.endswith((".lora_a", ".lora_b")) for name in names) and "token_embd.weight" not in names:
        raise GgufError(_ADAPTER.format("LoRA"))
    if "imatrix.datasets" in head.values or any(name.endswith(".in_sum2") for name in names):
        raise GgufError(_IMATRIX)
    if head.text("general.architecture") == "controlvector" or any(name.startswith("direction.") for name in names):
        raise GgufError(_CONTROL_VECTOR)
    if "clip.has_vision_encoder" in head.values or "clip.has_audio_encoder" in head.values:
        raise GgufError(NO_TEXT["clip"])


def _architecture(head: GgufHead) -> str:
    name = head.text("general.architecture")
    # The shape that a plan can name.
    if name is None or not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
        message = "it names no architecture (general.architecture), so it is no language model"
        raise GgufError(message)
    if name in NO_TEXT:
        raise GgufError(NO_TEXT[name])
    if name not in TEXT:
        message = (
            f"its architecture {name} is unknown to this engine's llama.cpp; take a model of another architecture, "
            "or a newer engine"
        )
        raise GgufError(message)
    return name


def _refuse_encoders(head: GgufHead, architecture: str) -> None:
    pooling = head.number(f"{architecture}.pooling_type")
    names = {tensor.name for tensor in head.tensors}
    if pooling == _POOLING_RANK or f"{architecture}.classifier.output_labels" in head.values:
        raise GgufError(_RERANKER)
    if any(name.startswith(("cls.", "cls.output.")) for name in names):
        raise GgufError(_RERANKER)
    if pooling not in {None, _POOLING_NONE, _POOLING_UNSPECIFIED} or any(name.startswith("dense_2.") for name in names):
        raise GgufError(NO_TEXT["bert"])
    if head.flag(f"{architecture}.attention.causal") is False:
        raise GgufError(NO_TEXT["bert"])


def _refuse_wrong_layers(head: GgufHead, architecture: str) -> None:
    if not head.tensors:
        message = "it holds a vocabulary and no weights; add the file with the weights"
        raise GgufError(message)
    names = {tensor.name for tensor in head.tensors}
    # Ollama packs both parts of a multimodal model into one file.
    if any(name.startswith(("v.", "mm.")) for name in names):
        message = (
            "it holds a language model and a multimodal projector in one file, which llama.cpp does not load; get the "
            "model with its projector in a file of its own"
        )
        raise GgufError(message)
    # Layers that predict further tokens (MTP) are also published alone, to draft for the model.
    predicts = head.number(f"{architecture}.nextn_predict_layers") and any(".nextn." in name for name in names)
    if predicts and not any(name.startswith("blk.0.") for name in names):
        raise GgufError(NO_TEXT["eagle3"])


def require_text_model(head: GgufHead) -> str:
    """Return the architecture of a whole model that generates text.

    Raises:
        GgufError: the file is part of a model, belongs to a model, or yields no text.
    """
    _refuse_parts(head)
    _refuse_companions(head)
    architecture = _architecture(head)
    _refuse_wrong_layers(head, architecture)
    _refuse_encoders(head, architecture)
    return architecture
