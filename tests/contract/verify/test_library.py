"""The auditor's library: its example does what it says, and its names are the ones that it promises."""

import re
import runpy
import textwrap
from pathlib import Path

import pytest

import contracts.verify
from tests.attacks.genuine import development_bundle


def example() -> str:
    """The indented block after the double colon."""
    found = re.search(r"::\n\n((?: {4}.*\n|\n)+)", contracts.verify.__doc__ or "")
    assert found is not None
    return textwrap.dedent(found.group(1))


def test_the_example_verifies_a_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    genuine = development_bundle()
    (tmp_path / "bundle.json").write_bytes(genuine.data)
    (tmp_path / "trust.json").write_text(genuine.trust.model_dump_json())
    (tmp_path / "example.py").write_text(example())
    monkeypatch.chdir(tmp_path)
    ran = runpy.run_path("example.py")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["OK", "size:", str(len(genuine.data)), "bytes"]
    assert "VALID" in lines
    assert lines[-1] == f"not proven: {ran['report'].not_proven[-1]}"


@pytest.mark.parametrize("name", contracts.verify.__all__)
def test_the_docstring_names_everything_that_is_exported(name: str) -> None:
    assert hasattr(contracts.verify, name)
    assert name in (contracts.verify.__doc__ or "")
