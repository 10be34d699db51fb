import pytest

from supervisor.adapters.installation.gguf_file import MAX_HEAD_BYTES
from supervisor.domain.errors import EngineError
from supervisor.domain.models.gguf_head import Tensor
from supervisor.domain.models.gguf_types import FILE_TYPES, TENSOR_TYPES
from supervisor.domain.models.quantizing import (
    ALIGNMENT_BYTES_MAX,
    HEAD_BYTES_MAX,
    HEAD_MARGIN_BYTES,
    TARGETS,
    UNQUANTIZED,
    WEIGHT_BYTES_MAX,
    estimate_needs,
    parse_progress,
    require_target,
)


def test_the_targets_have_llama_cpps_numbers() -> None:
    assert {name: FILE_TYPES[number] for name, number in TARGETS.items()} == {name: name for name in TARGETS}
    assert set(FILE_TYPES.values()) >= UNQUANTIZED


def test_no_target_has_types_wider_than_the_bound() -> None:
    kinds = ("q", "iq", "f16", "bf16")
    widths = [size / weights for name, weights, size in TENSOR_TYPES.values() if name.startswith(kinds)]
    # q8_1 and q8_k are types of llama.cpp's computations, never of a file.
    assert max(widths) <= WEIGHT_BYTES_MAX
    assert HEAD_BYTES_MAX == MAX_HEAD_BYTES


def test_a_target_is_a_number_of_llama_cpp() -> None:
    assert require_target("f16", "q4_k_m") == 15


@pytest.mark.parametrize(
    ("target", "message"),
    [("iq2_xxs", "possible are bf16, f16"), ("q9", "possible are"), ("f16", "is f16 already")],
)
def test_another_target_is_refused(target: str, message: str) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        require_target("f16", target)
    assert caught.value.code == "quantization_refused"


def tensor(shape: tuple[int, ...], size_bytes: int) -> Tensor:
    return Tensor(name="x", type="f32", shape=shape, offset=0, size_bytes=size_bytes)


def test_the_bounds_count_matrices_and_vectors() -> None:
    tensors = [tensor((10, 100), 700), tensor((10, 10, 40), 5000), tensor((10,), 40), tensor((10, 10), 400)]
    needs = estimate_needs(tensors, source_bytes=500, base_bytes=7)
    assert needs.memory_bytes == 7 + 4000 * 8
    # The last two stay in 32-bit floats.
    assert needs.output_bytes == 5000 * 2 + 40 + 400 + 4 * ALIGNMENT_BYTES_MAX + 500 + HEAD_MARGIN_BYTES


def test_the_head_counts_no_more_than_is_read() -> None:
    assert estimate_needs([], 10**12, 0).output_bytes == HEAD_BYTES_MAX + HEAD_MARGIN_BYTES


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"[   1/ 272] output.weight - [ 576, 49152]", (1, 272)),
        (b"[ 272/ 272] blk.29.ffn_up.weight - ", (272, 272)),
        (b"[ 300/ 272] more than all", None),
        (b"[9999999/9999999] x", None),
        (b" [ 1/ 2] later", None),
        (b"llama_model_loader: loaded meta data", None),
        (b"", None),
    ],
)
def test_progress_is_read_from_the_quantizers_lines(line: bytes, expected: tuple[int, int] | None) -> None:
    assert parse_progress(line) == expected
