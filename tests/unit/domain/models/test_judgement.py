"""The judgement of a whole head, and what it says of the model."""

import re

import pytest

from contracts.wire.document import sha256_digest
from supervisor.domain.models.gguf_head import GgufError
from supervisor.domain.models.judgement import judge_head
from supervisor.domain.models.model_header import GgufHeader, ModelDescription
from tests.gguf_files import TOKENIZER, Typed, parse_composed, sound_keys, sound_tensors

TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


def judged(**general: object) -> GgufHeader:
    keys = sound_keys() | {name.replace("__", "."): value for name, value in general.items()}
    return judge_head(parse_composed(keys, sound_tensors("q4_k", "q6_k")))


def test_a_head_tells_what_the_engine_needs() -> None:
    header = judged(general__file_type=15, tokenizer__chat_template=TEMPLATE)
    assert (header.architecture, header.quantization, header.context_length) == ("llama", "q4_k_m", 128)
    # 2 layers, 2 heads of keys and values, 8 numbers each, key and value, 2 bytes a number
    assert header.cache.token_bytes == 2 * 2 * (8 + 8) * 2
    assert header.chat_template == sha256_digest(TEMPLATE.encode())
    assert [each.type for each in header.mixture] == ["q4_k", "q6_k", "f32"]


def test_a_model_is_described_in_its_authors_words() -> None:
    found = judged(
        general__name="A model",
        general__author="Somebody",
        general__license="apache-2.0",
        general__license__link="https://example.org/license",
        general__repo_url="https://example.org/model",
        general__description="Answers questions.",
        general__size_label="8x7B",
        llama__expert_count=8,
        llama__expert_used_count=2,
    ).description
    assert found == ModelDescription(
        name="A model",
        author="Somebody",
        license="apache-2.0",
        license_link="https://example.org/license",
        source="https://example.org/model",
        description="Answers questions.",
        size_label="8x7B",
        tokenizer="llama",
        vocabulary_tokens=4,
        parameters=2 * 1024 + 32,
        layers=2,
        embedding_length=32,
        experts=8,
        experts_used=2,
    )


def test_what_a_file_does_not_say_is_none() -> None:
    found = judged().description
    assert (found.name, found.author, found.license, found.source) == (None, None, None, None)
    assert (found.experts, found.experts_used) == (0, 0)


def test_another_key_stands_in_for_a_missing_one() -> None:
    found = judged(general__organization="An organization", general__license__name="Its own", general__url="u")
    assert (found.description.author, found.description.license, found.description.source) == (
        "An organization",
        "Its own",
        "u",
    )


def test_a_number_of_experts_for_each_layer_counts_by_its_largest() -> None:
    assert judged(llama__expert_count=4, llama__expert_used_count=[1, 3]).description.experts_used == 3


@pytest.mark.parametrize(
    "keys", [{"llama__expert_used_count": 1}, {"llama__expert_count": 2, "llama__expert_used_count": 3}]
)
def test_more_experts_in_use_than_there_are_is_refused(keys: dict[str, object]) -> None:
    with pytest.raises(GgufError, match=r"expert_used_count says ., and there are fewer experts"):
        judged(**keys)


def test_one_expert_of_hunyuan_is_a_plain_model() -> None:
    keys = sound_keys("hunyuan-dense", expert_used_count=1)
    assert judge_head(parse_composed(keys)).description.experts == 0


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("caf\u00e9".encode("latin-1"), "caf\ufffd"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        ("two\nlines\tand \x1b[31mred\x1b[0m", "two lines and \ufffd[31mred\ufffd[0m"),
        ("right\u202eto left", "right\ufffdto left"),
        ("  \n ", None),
        ("", None),
        ("x" * 256, "x" * 256),
        ("x" * 257, "x" * 255 + "\u2026"),
        ("\u00e9" * 5000, "\u00e9" * 255 + "\u2026"),
        (7, None),
        (["a", "b"], None),
    ],
)
def test_a_description_is_bounded_and_printable(written: object, shown: str | None) -> None:
    assert judged(general__name=written).description.name == shown


@pytest.mark.parametrize(
    "template",
    ["", "\0x", b"caf\xe9 {{ messages }}", "x" * (2**20 + 1), [TEMPLATE]],
    ids=["empty", "nothing before a zero", "latin-1", "too long", "list"],
)
def test_what_no_renderer_could_read_is_no_template(template: object) -> None:
    assert judged(tokenizer__chat_template=template).chat_template is None


def test_a_template_ends_where_llama_cpp_reads_its_end() -> None:
    whole, cut = (judged(tokenizer__chat_template=text).chat_template for text in (TEMPLATE, TEMPLATE + "\0more"))
    assert whole == cut


def test_text_that_is_not_utf_8_is_refused_in_names_only() -> None:
    """Tokens are bytes, descriptions are shown; keys, architecture and names of tensors are identifiers."""
    odd = {"general.name": b"\xff", "general.author": b"\xe9", "tokenizer.ggml.tokens": [b"\xff", b"a", b"b", b"c"]}
    assert judge_head(parse_composed(sound_keys() | odd)).description.name == "\ufffd"


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"llama.context_length": None}, "llama.context_length is missing or no positive number"),
        ({"llama.context_length": 0}, "llama.context_length is missing or no positive number"),
        ({"llama.context_length": Typed(10, 128)}, "llama.context_length is of a type"),
        (dict.fromkeys(TOKENIZER), "no usable tokenizer"),
        ({"general.file_type": 7}, "its header says q8_0, but its weights are q4_k"),
        ({"general.architecture": "bert"}, "embedding model"),
        ({"llama.expert_count": "8"}, "llama.expert_count is of a type"),
        ({"tokenizer.chat_template": 7}, "its chat template (tokenizer.chat_template) is no text"),
    ],
)
def test_a_head_that_no_run_could_use_is_refused(keys: dict[str, object], why: str) -> None:
    with pytest.raises(GgufError, match=re.escape(why)):
        judge_head(parse_composed(sound_keys() | keys, sound_tensors("q4_k")))
