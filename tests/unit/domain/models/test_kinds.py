"""Files of llama.cpp's format that are no language model are refused as what they are."""

from typing import Any

import pytest

from supervisor.domain.models.architectures import NO_TEXT, TEXT
from supervisor.domain.models.gguf_head import GgufError
from supervisor.domain.models.kinds import require_text_model
from tests.gguf_files import Typed, parse_composed, sound_keys, sound_tensors

U16 = 2
EMBEDDING, RERANKER = "embedding model, which yields no text", "reranker or classifier"
DRAFT, SPEECH, DIFFUSION = "draft model", "speech model", "diffusion model"
Tensor = tuple[str | bytes, tuple[int, ...], str]


def refusal(keys: dict[str, Any], *tensors: Tensor) -> str:
    with pytest.raises(GgufError) as caught:
        require_text_model(parse_composed(keys, [*sound_tensors(), *tensors]))
    return str(caught.value)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        (
            {"split.no": Typed(U16, 0), "split.count": Typed(U16, 3)},
            "part 1 of 3 of a split model; merge the parts with",
        ),
        ({"split.no": Typed(U16, 2), "split.count": Typed(U16, 3)}, "llama-gguf-split --merge"),
        ({"split.count": 2}, "part 1 of 2"),
        # Only the first part names the architecture.
        ({"general.architecture": None, "split.no": Typed(U16, 1), "split.count": Typed(U16, 3)}, "part 2 of 3"),
        ({"general.type": "adapter", "adapter.type": "lora"}, "LoRA adapter"),
        ({"adapter.type": "lora"}, "merge it into its base model"),
        ({"general.type": "imatrix", "general.architecture": None}, "importance matrix"),
        ({"imatrix.datasets": ["a"]}, "importance matrix"),
        ({"general.type": "mmproj"}, "multimodal projector"),
        ({"general.architecture": "clip"}, "multimodal projector"),
        ({"clip.has_vision_encoder": True}, "multimodal projector"),
        ({"clip.has_audio_encoder": True, "general.architecture": None}, "multimodal projector"),
        ({"general.architecture": "controlvector"}, "control vector"),
        ({"general.architecture": None}, "names no architecture"),
        ({"general.architecture": ""}, "names no architecture"),
        ({"general.architecture": "ll ma"}, "names no architecture"),
        ({"general.architecture": b"ll\xffma"}, "names no architecture"),
        ({"general.architecture": 1}, "names no architecture"),
        ({"general.architecture": "gptj"}, "gptj is unknown"),
        ({"general.architecture": "(unknown)"}, "names no architecture"),
        ({"general.architecture": "gptoss"}, "gptoss is unknown"),
        ({"general.architecture": "flux"}, "flux is unknown"),
        ({"general.architecture": "t5"}, "encoder-decoder"),
        ({"general.architecture": "t5encoder"}, EMBEDDING),
        *(
            ({"general.architecture": name}, EMBEDDING)
            for name in ("bert", "nomic-bert", "modern-bert", "jina-bert-v2")
        ),
        *(({"general.architecture": name}, EMBEDDING) for name in ("gemma-embedding", "llama-embed", "eurobert")),
        *(({"general.architecture": name}, DIFFUSION) for name in ("dream", "llada", "llada-moe", "rnd1")),
        *(({"general.architecture": name}, SPEECH) for name in ("wavtokenizer-dec", "qwen3tts", "pockettts")),
        *(({"general.architecture": name}, DRAFT) for name in ("eagle3", "dflash", "gemma4-assistant")),
        *(({"llama.pooling_type": number}, EMBEDDING) for number in (1, 2, 3, 7)),
        ({"llama.pooling_type": 4}, RERANKER),
        ({"llama.classifier.output_labels": ["yes", "no"]}, RERANKER),
        ({"llama.attention.causal": False}, EMBEDDING),
    ],
)
def test_what_is_no_text_model_is_refused_as_what_it_is(keys: dict[str, Any], why: str) -> None:
    assert why in refusal(sound_keys() | keys)


@pytest.mark.parametrize(
    ("tensor", "why"),
    [
        (("blk.0.attn_q.weight.lora_a", (8, 4), "f32"), "LoRA adapter"),
        (("blk.0.attn_q.weight.lora_b", (8, 4), "f32"), "LoRA adapter"),
        (("blk.0.attn_q.weight.in_sum2", (8, 4), "f32"), "importance matrix"),
        (("direction.1", (8,), "f32"), "control vector"),
        (("v.blk.0.attn_q.weight", (8, 4), "f32"), "a multimodal projector in one file"),
        (("mm.0.weight", (8, 4), "f32"), "a multimodal projector in one file"),
        (("cls.output.weight", (8, 1), "f32"), RERANKER),
        (("cls.weight", (8, 1), "f32"), RERANKER),
        (("dense_2.weight", (8, 8), "f32"), EMBEDDING),
    ],
)
def test_the_names_of_tensors_tell_too(tensor: Tensor, why: str) -> None:
    assert why in refusal(sound_keys(), tensor)


def test_a_vocabulary_without_weights_is_no_model() -> None:
    with pytest.raises(GgufError, match="a vocabulary and no weights"):
        require_text_model(parse_composed(sound_keys(), []))


def test_layers_that_only_predict_further_tokens_are_no_model() -> None:
    keys = sound_keys("qwen35", nextn_predict_layers=1)
    alone: list[Tensor] = [("blk.1.nextn.eh_proj.weight", (8, 8), "f32"), ("token_embd.weight", (8, 4), "f32")]
    with pytest.raises(GgufError, match=DRAFT):
        require_text_model(parse_composed(keys, alone))
    assert require_text_model(parse_composed(keys, [*alone, ("blk.0.attn_norm.weight", (8,), "f32")])) == "qwen35"
    # Published without them, the model is whole.
    assert require_text_model(parse_composed(keys)) == "qwen35"


@pytest.mark.parametrize(
    "keys",
    [
        {"split.no": Typed(U16, 0), "split.count": Typed(U16, 1)},
        {"split.count": Typed(U16, 0)},
        {"general.type": "model"},
        {"llama.pooling_type": 0},
        # -1: unspecified
        {"llama.pooling_type": 2**32 - 1},
        {"llama.attention.causal": True},
    ],
)
def test_a_whole_model_is_accepted(keys: dict[str, Any]) -> None:
    assert require_text_model(parse_composed(sound_keys() | keys)) == "llama"


def test_a_model_may_carry_its_own_adapters() -> None:
    tensors: list[Tensor] = [("token_embd.weight", (32, 4), "f32"), ("blk.0.attn_q.lora_a", (8, 4), "f32")]
    assert require_text_model(parse_composed(sound_keys("graniteswitch"), tensors)) == "graniteswitch"


@pytest.mark.parametrize("name", sorted(TEXT))
def test_every_architecture_that_generates_text_is_accepted(name: str) -> None:
    assert require_text_model(parse_composed(sound_keys(name))) == name


def test_no_architecture_is_in_both_lists() -> None:
    assert not TEXT & set(NO_TEXT)
    assert len(TEXT) + len(NO_TEXT) == 152
