"""Files that claim what is not so: refused within bounds, whatever they claim."""

import struct
import tracemalloc
from pathlib import Path

import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType

from supervisor.adapters.installation.gguf_file import GgufError, parse_gguf
from supervisor.adapters.installation.gguf_header import read_gguf_header
from supervisor.adapters.installation.gguf_types import FILE_TYPES, TENSOR_TYPES
from supervisor.domain.errors import EngineError

U8, U32, F32, STRING, ARRAY = 0, 4, 6, 8, 9


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def number(name: str, value: int) -> bytes:
    return text(name.encode()) + struct.pack("<II", U32, value)


def listed(name: str, kind: int, count: int, items: bytes = b"") -> bytes:
    return text(name.encode()) + struct.pack("<IIQ", ARRAY, kind, count) + items


def tensor(name: bytes = b"blk.0.w", shape: tuple[int, ...] = (8, 4), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def head(*values: bytes, tensors: tuple[bytes, ...] = (), version: int = 3) -> bytes:
    start = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(values))
    return start + b"".join(values) + b"".join(tensors)


ARCHITECTURE = text(b"general.architecture") + struct.pack("<I", STRING) + text(b"llama")
SIZES = (
    number("llama.context_length", 128),
    number("llama.embedding_length", 32),
    number("llama.block_count", 2),
    number("llama.attention.head_count", 4),
)
SOUND = head(ARCHITECTURE, *SIZES, tensors=(tensor(),))


def test_the_numbers_of_types_are_those_of_the_reference() -> None:
    assert {kind.value: kind.name.removeprefix("ALL_").removeprefix("MOSTLY_").lower() for kind in LlamaFileType} == (
        FILE_TYPES
    )
    expected = {kind.value: (kind.name.lower(), *GGML_QUANT_SIZES[kind]) for kind in GGMLQuantizationType}
    assert expected == TENSOR_TYPES


def test_a_sound_head_is_read() -> None:
    parsed = parse_gguf(SOUND, 10_000)
    assert parsed.values["general.architecture"] == "llama"
    assert [(each.name, each.type, each.elements) for each in parsed.tensors] == [("blk.0.w", "f32", 32)]


def test_a_head_that_ends_anywhere_too_early_is_refused() -> None:
    for end in range(len(SOUND)):
        with pytest.raises(GgufError):
            parse_gguf(SOUND[:end], 10_000)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GGML" + SOUND[4:], "begin"),
        (head(version=1), "version 1"),
        (head(version=0x03000000), "version"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "claims more"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63), "claims more"),
        (head(text(b"a") + struct.pack("<I", 13)), "unknown type 13"),
        (head(text(b"a") + struct.pack("<IQ", STRING, 2**64 - 1)), "ends early"),
        (head(text(b"a") + struct.pack("<IQ", STRING, 2) + b"\xff\xff"), "UTF-8"),
        (head(text(b"\xff") + struct.pack("<IB", U8, 1)), "UTF-8"),
        (head(text(b"a" * 65_536) + struct.pack("<IB", U8, 1)), "too long"),
        (head(number("a", 1), number("a", 2)), "one key twice"),
        (head(listed("a", ARRAY, 1)), "unknown type 9"),
        (head(listed("a", 99, 1)), "unknown type 99"),
        (head(listed("a", U8, 2**40)), "ends early"),
        (head(listed("a", F32, 2**63)), "ends early"),
        (head(listed("a", STRING, 2**63)), "ends early"),
        (head(tensors=(tensor(shape=()),)), "0 dimensions"),
        (head(tensors=(tensor(shape=(1,) * 5),)), "5 dimensions"),
        (head(tensors=(tensor(kind=4),)), "unknown type 4"),
        (head(tensors=(tensor(), tensor())), "two tensors"),
        (head(tensors=(tensor(shape=(2**63, 2**63, 2**63, 2**63)),)), "cut short"),
        (head(tensors=(tensor(offset=2**64 - 1),)), "cut short"),
        (head(number("general.alignment", 0)), "power of two"),
        (head(number("general.alignment", 48)), "power of two"),
        (head(text(b"general.alignment") + struct.pack("<I", STRING) + text(b"x")), "power of two"),
    ],
)
def test_what_a_file_claims_falsely_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(GgufError, match=why):
        parse_gguf(data, 10_000)


@pytest.mark.parametrize("kind", [U8, F32, STRING])
def test_a_list_that_claims_more_than_there_is_costs_nothing(kind: int) -> None:
    # Another reader took such a file of 57 bytes for a list of 2^40 items and filled the memory with empty ones.
    data = head(listed("a", kind, 2**40))
    tracemalloc.start()
    try:
        with pytest.raises(GgufError):
            parse_gguf(data, len(data))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 100_000


def test_long_lists_and_texts_are_passed_over() -> None:
    data = head(
        listed("long", U8, 5000, b"\1" * 5000),
        listed("words", STRING, 2, text(b"a") + text(b"b")),
        listed("short", U8, 2, b"\1\2"),
        text(b"essay") + struct.pack("<I", STRING) + text(b"x" * 1_100_000),
        number("last", 7),
    )
    assert parse_gguf(data, 0).values == {"long": None, "words": None, "short": (1, 2), "essay": None, "last": 7}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (SIZES, "names no architecture"),
        ((ARCHITECTURE.replace(b"llama", b"ll ma"), *SIZES), "names no architecture"),
        ((number("general.architecture", 1), *SIZES), "names no architecture"),
        ((ARCHITECTURE, *SIZES[1:]), "context_length is missing"),
        ((ARCHITECTURE, number("llama.context_length", 0), *SIZES[1:]), "context_length is missing or no positive"),
        ((ARCHITECTURE, *SIZES[:3], number("llama.attention.head_count", 0)), "head_count is missing or no positive"),
        ((ARCHITECTURE, *SIZES[:3], listed("llama.attention.head_count", U8, 0)), "head_count"),
        ((ARCHITECTURE, *SIZES[:3], listed("llama.attention.head_count", STRING, 0)), "head_count"),
        (
            (
                ARCHITECTURE,
                *SIZES,
                *(number(f"llama.attention.{what}", 2**32 - 1) for what in ("head_count_kv", "key_length")),
            ),
            "no sensible size",
        ),
        ((ARCHITECTURE, *SIZES, number("general.file_type", 3)), "says q4_1"),
    ],
)
def test_a_header_that_no_plan_could_name_is_refused(tmp_path: Path, values: tuple[bytes, ...], why: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(head(*values, tensors=(tensor(),)) + bytes(1000))
    with pytest.raises(EngineError, match=why) as caught:
        read_gguf_header(path)
    assert caught.value.code == "model_refused"


@pytest.mark.parametrize("kind", sorted({"iq2_xs", "iq3_s", "iq2_s", "iq4_xs", "q4_k", "q4_1"}))
def test_a_type_whose_name_ends_like_a_size_is_taken_whole(tmp_path: Path, kind: str) -> None:
    file_type = next(number for number, name in FILE_TYPES.items() if name in {kind, kind + "_m"})
    tensor_type = next(number for number, (name, _, _) in TENSOR_TYPES.items() if name == kind)
    path = tmp_path / "m.gguf"
    values = (ARCHITECTURE, *SIZES, number("general.file_type", file_type))
    path.write_bytes(head(*values, tensors=(tensor(shape=(256, 1), kind=tensor_type),)) + bytes(1000))
    assert read_gguf_header(path).quantization == FILE_TYPES[file_type]


def test_a_number_for_each_layer_counts_by_its_largest(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    heads = listed("llama.attention.head_count_kv", U32, 2, struct.pack("<II", 1, 2))
    path.write_bytes(head(ARCHITECTURE, *SIZES, heads, tensors=(tensor(),)) + bytes(1000))
    # 2 layers, 2 heads for keys and values, 8 numbers each, key and value, 2 bytes a number
    assert read_gguf_header(path).cache.token_bytes == 2 * 2 * (8 + 8) * 2
