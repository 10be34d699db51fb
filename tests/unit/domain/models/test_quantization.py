"""Labels of quantizations against the types of weights that stand in a file."""

import pytest

from supervisor.domain.models.gguf_head import GgufError
from supervisor.domain.models.gguf_types import FILE_TYPES
from supervisor.domain.models.quantization import judge_quantization, measure_mixture, normal_quantization
from tests.gguf_files import Typed, parse_composed, sound_keys, sound_tensors

NUMBERS = {name: number for number, name in FILE_TYPES.items()}
GUESSED = 1024
Tensors = list[tuple[str | bytes, tuple[int, ...], str]]


def judged(file_type: int | None, tensors: Tensors) -> str:
    return judge_quantization(parse_composed(sound_keys() | {"general.file_type": file_type}, tensors))


def layers(*types: str, row: int = 256) -> Tensors:
    return [*sound_tensors(*types, row=row)]


# What llama-quantize gives the weights of a layer under each label, and what publishers give them.
MADE = {
    "f32": ["f32"],
    "f16": ["f16", "f16 f32"],
    "bf16": ["bf16", "bf16 f32"],
    "q4_0": ["q4_0", "q4_0 q4_1 q6_k", "q4_0 f16"],
    "q4_1": ["q4_1"],
    "q5_0": ["q5_0", "q5_0 q5_1"],
    "q5_1": ["q5_1"],
    "q8_0": ["q8_0", "q8_0 bf16", "q8_0 f16 f32"],
    "q2_k": ["q2_k q3_k q4_k", "iq2_xxs", "iq1_s iq1_m q4_k q6_k", "iq2_xs iq3_s q5_k", "iq3_xxs q6_k"],
    "q2_k_s": ["q2_k q4_k"],
    "q3_k_s": ["q3_k"],
    "q3_k_m": ["q3_k q4_k q5_k", "iq3_xxs iq4_xs q5_k"],
    "q3_k_l": ["q3_k q5_k"],
    "q4_k_s": ["q4_k q5_k"],
    "q4_k_m": ["q4_k q6_k", "q4_k q5_k q6_k", "q4_k q8_0", "iq4_xs q5_k q6_k"],
    "q5_k_s": ["q5_k"],
    "q5_k_m": ["q5_k q6_k"],
    "q6_k": ["q6_k", "q6_k q8_0"],
    "iq1_s": ["iq1_s iq2_xxs q2_k q4_k", "iq1_m iq2_xxs"],
    "iq1_m": ["iq1_m iq2_xxs q2_k"],
    "iq2_xxs": ["iq2_xxs q2_k q4_k"],
    "iq2_xs": ["iq2_xs q2_k"],
    "iq2_s": ["iq2_xs iq3_s q4_k", "iq2_xs"],
    "iq2_m": ["iq2_s iq3_s q4_k", "iq2_s"],
    "iq3_xxs": ["iq3_xxs iq2_s iq3_s q3_k q4_k"],
    "iq3_xs": ["iq3_s iq3_xxs q4_k", "iq3_s"],
    "iq3_s": ["iq3_s q4_k"],
    "iq3_m": ["iq3_s q4_k", "iq3_s"],
    "iq4_nl": ["iq4_nl q5_k"],
    "iq4_xs": ["iq4_xs q5_k"],
    "tq1_0": ["tq1_0", "iq1_s iq2_xxs q4_k"],
    "tq2_0": ["tq2_0"],
    "mxfp4_moe": ["mxfp4 q8_0", "mxfp4", "q8_0"],
    "nvfp4": ["nvfp4 bf16"],
    "q1_0": ["q1_0"],
    "q2_0": ["q2_0"],
}
CASES = [(label, types) for label, mixtures in MADE.items() for types in mixtures]


def test_every_label_is_tried() -> None:
    assert set(MADE) == set(FILE_TYPES.values())


@pytest.mark.parametrize(("label", "types"), CASES)
def test_a_mixture_that_the_label_stands_for_is_accepted(label: str, types: str) -> None:
    assert judged(NUMBERS[label], layers(*types.split())) == label


@pytest.mark.parametrize("label", sorted(FILE_TYPES.values()))
@pytest.mark.parametrize("published", ["mxfp4", "nvfp4"])
def test_published_formats_stand_under_any_label(label: str, published: str) -> None:
    assert judged(NUMBERS[label], layers(published, published, "q8_0", "bf16")) == label


@pytest.mark.parametrize(
    ("label", "types"),
    [
        ("q4_k_m", "q8_0"),
        ("q4_k_m", "f16"),
        ("q4_k_m", "q4_0"),
        ("q4_k_m", "q6_k"),
        ("q5_k_m", "q4_k"),
        ("q6_k", "q4_k"),
        ("q8_0", "q4_k q6_k"),
        ("q4_0", "q4_1"),
        ("q4_1", "f32"),
        ("q2_k", "q8_0"),
        ("q2_k", "q4_k q6_k"),
        ("iq3_m", "q8_0"),
        ("iq4_xs", "q4_k"),
        ("f16", "q8_0"),
        ("f16", "bf16"),
        ("f32", "f16"),
        ("bf16", "f32"),
        ("mxfp4_moe", "q4_k"),
        ("q2_0", "q2_k"),
    ],
)
def test_a_label_of_which_no_type_occurs_is_refused(label: str, types: str) -> None:
    with pytest.raises(GgufError, match=f"says {label}, but its weights are {', '.join(sorted(types.split()))};"):
        judged(NUMBERS[label], layers(*types.split()))


def test_embeddings_and_output_prove_no_label() -> None:
    tensors: Tensors = [("token_embd.weight", (256, 4), "q4_k"), ("output.weight", (256, 4), "q6_k")]
    with pytest.raises(GgufError, match="says q4_k_m"):
        judged(NUMBERS["q4_k_m"], [*tensors, *layers("q8_0")])
    assert judged(NUMBERS["q4_k_m"], tensors) == "q4_k_m"


def test_weights_that_no_quantizer_touches_prove_no_label() -> None:
    kept = ("attn_q_norm", "ffn_gate_inp", "ssm_conv1d", "time_mix_w1", "shortconv.conv")
    tensors: Tensors = [(f"blk.0.{name}.weight", (256, 4), "f32") for name in kept]
    with pytest.raises(GgufError, match="says f32"):
        judged(NUMBERS["f32"], [*tensors, *layers("q4_k")])


@pytest.mark.parametrize(
    ("label", "kind", "row"),
    [
        ("q4_k_m", "q5_0", 96),
        ("q5_k_m", "q5_1", 96),
        ("q6_k", "q8_0", 96),
        ("q3_k_m", "q4_0", 96),
        ("q2_k", "q4_0", 96),
        ("iq3_m", "iq4_nl", 96),
        ("iq1_s", "iq4_nl", 96),
        ("tq1_0", "q4_0", 96),
        ("q4_k_m", "f16", 48),
        ("q4_0", "f16", 48),
        ("q8_0", "f16", 33),
    ],
)
def test_a_row_that_no_block_divides_has_another_type(label: str, kind: str, row: int) -> None:
    assert judged(NUMBERS[label], layers(kind, row=row)) == label
    # Where the blocks fit, the same type would be a false label.
    with pytest.raises(GgufError, match=f"says {label}"):
        judged(NUMBERS[label], layers("f16" if kind == "f16" else kind, row=256 if kind != "iq4_nl" else 512))


@pytest.mark.parametrize(
    ("file_type", "types", "expected"),
    [
        (None, "q4_1", "q4_1"),
        (None, "q4_k q4_k q6_k", "q4_k_m"),
        (None, "q3_k", "q3_k_m"),
        (None, "mxfp4 mxfp4 q8_0", "mxfp4_moe"),
        (999, "q8_0", "q8_0"),
        (GUESSED, "f32", "f32"),
        (GUESSED, "f16", "f16"),
        (GUESSED | 15, "q4_k q6_k", "q4_k_m"),
        (GUESSED | 15, "q8_0", "q8_0"),
    ],
)
def test_without_a_true_label_the_most_frequent_type_counts(file_type: int | None, types: str, expected: str) -> None:
    assert judged(file_type, layers(*types.split())) == expected


def test_a_label_of_another_type_is_refused() -> None:
    with pytest.raises(GgufError, match=r"general.file_type is of a type"):
        judge_quantization(parse_composed(sound_keys() | {"general.file_type": Typed(10, 15)}))


def test_the_mixture_counts_all_weights_the_most_frequent_first() -> None:
    head = parse_composed(sound_keys(), [*layers("q4_k", "q4_k", "q6_k"), ("z", (), "f32")])
    assert [(each.type, each.elements) for each in measure_mixture(head)] == [
        ("q4_k", 2048),
        ("q6_k", 1024),
        ("f32", 33),
    ]


def test_more_weights_than_a_plan_can_count_are_refused() -> None:
    head = parse_composed(sound_keys(), [("a", (2**52, 2), "f32"), ("b", (2**52,), "f32")])
    with pytest.raises(GgufError, match="can be counted"):
        measure_mixture(head)


@pytest.mark.parametrize(
    ("written", "normal"),
    [("Q4_1", "q4_1"), ("Q4_K_M", "q4_k_m"), ("BF16", "bf16"), ("q4_k", "q4_k_m"), ("Q3_K", "q3_k_m"), ("x y", "x y")],
)
def test_capitals_and_short_names_are_the_same_quantization(written: str, normal: str) -> None:
    assert normal_quantization(written) == normal
