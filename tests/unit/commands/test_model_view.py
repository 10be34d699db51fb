"""`weos-engine models show`, `list` and `remove`."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from supervisor.adapters.files import digest_of_file
from supervisor.commands.models import command
from supervisor.domain.errors import EngineError
from tests.gguf_files import sound_keys, sound_tensors, write_gguf

TEMPLATE = "{{ messages }}"
HOSTILE = "\x1b]0;owned\x07[bold]red[/bold] \u202egnp.exe"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEOS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, *types: str, **keys: object) -> Path:
    more = {"general." + name: value for name, value in keys.items()}
    template = {"tokenizer.chat_template": TEMPLATE}
    return write_gguf(path, sound_keys(context_length=40_000) | template | more, sound_tensors(*types))


def models(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def shown(*arguments: str) -> str:
    result = models("show", *arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_a_file_is_shown_before_it_is_installed(folder: Path) -> None:
    write(folder / "m.gguf", "f32", "f32", "f16", name="Tiny", license="mit", size_label="1K")
    told = json.loads(shown("m.gguf", "--json"))
    assert (told["is_installed"], told["sha256"], told["name"], told["license"]) == (False, None, "Tiny", "mit")
    assert told["chat_template"].startswith("sha256:")
    assert told["parameters"] == sum(each["elements"] for each in told["mixture"])
    small, large = told["memory"]
    # The largest context of the policy, which is less than the model's.
    assert (small["context_tokens"], large["context_tokens"], told["context_length"]) == (2048, 32768, 40_000)
    assert small["memory_bytes"] < large["memory_bytes"]
    assert not (folder / "home").exists()


def test_the_tables_tell_shares_and_needs_and_fit_a_terminal(folder: Path) -> None:
    write(folder / "m.gguf", "f32", "f32", "f16")
    text = shown("m.gguf")
    assert max(map(len, text.splitlines())) <= 80
    for words in ("67.01 %", "32.99 %", "context of 2048 tokens", "disk, to install it", "not said", "GiB"):
        assert words in text


def test_the_digest_is_computed_where_it_is_asked_for(folder: Path) -> None:
    path = write(folder / "m.gguf")
    assert json.loads(shown("m.gguf", "--json", "--digest"))["sha256"] == digest_of_file(path)


def test_an_installed_model_is_shown_by_its_name_with_its_digest(folder: Path) -> None:
    path = write(folder / "m.gguf", name="Tiny")
    assert models("add", "tiny", "m.gguf").exit_code == 0
    for arguments in (("tiny",), ("tiny", "--quantization", "F32")):
        told = json.loads(shown(*arguments, "--json"))
        assert (told["is_installed"], told["sha256"]) == (True, digest_of_file(path))
    assert "disk, to install it" not in shown("tiny")
    # A name wins over a file of the same name.
    path.rename(folder / "tiny")
    assert json.loads(shown("tiny", "--json"))["is_installed"]
    assert not json.loads(shown("./tiny", "--json"))["is_installed"]


def test_text_of_the_file_never_reaches_the_terminal_as_it_is(folder: Path) -> None:
    name = f"{HOSTILE}.gguf".replace("/", "")
    write(folder / name, name=HOSTILE, description=HOSTILE * 1000)
    text = shown(name)
    assert "\x1b" not in text
    assert "\u202e" not in text
    # Markup is text.
    assert "[bold]red" in text
    assert len(text.splitlines()) < 60


def test_what_is_no_model_is_refused_as_at_its_installation(folder: Path) -> None:
    os.mkfifo(folder / "pipe.gguf")
    (folder / "text.gguf").write_text("text")
    for name in ("pipe.gguf", "text.gguf", "none.gguf"):
        result = models("show", name)
        assert isinstance(result.exception, EngineError)
        assert result.exception.code == "model_refused"


def test_a_name_that_is_not_there_or_not_enough_is_told(folder: Path) -> None:
    assert "no model is installed as none" in models("show", "none").output
    write(folder / "a.gguf", "f32")
    write(folder / "b.gguf", "f16")
    models("add", "tiny", "a.gguf")
    assert "not installed as q4_1" in models("show", "tiny", "--quantization", "q4_1").output
    assert models("add", "tiny", "b.gguf").exit_code == 0
    for verb in ("show", "remove"):
        assert "several quantizations (f16, f32)" in models(verb, "tiny").output
    assert "chooses among installed models" in models("show", "a.gguf", "--quantization", "f32").output
    assert models("show", "tiny", "--quantization", "f16").exit_code == 0


def test_the_list_says_which_models_hold_conversations(folder: Path) -> None:
    write(folder / "a.gguf")
    write_gguf(folder / "b.gguf", sound_keys(), sound_tensors())
    models("add", "with", "a.gguf")
    models("add", "without", "b.gguf")
    rows = {line.split()[1]: line.split()[-4] for line in models("list").output.splitlines() if "│" in line}
    assert rows == {"with": "yes", "without": "no"}


def test_removing_says_what_becomes_of_the_file(folder: Path) -> None:
    write(folder / "a.gguf")
    models("add", "one", "a.gguf")
    models("add", "two", "a.gguf")
    assert "another name uses it" in models("remove", "one").output
    assert "its file is deleted" in models("remove", "two", "--quantization", "F32").output
    assert "no model is installed as two" in models("remove", "two").output
