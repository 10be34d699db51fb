"""Whether a tree is a commit and nothing else; with real git."""

import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.domain.errors import EngineError
from supervisor.release import source_tree
from supervisor.release.source_tree import require_committed, require_generated
from tests.release_home import copy_source


def git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(root), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def commit(root: Path) -> str:
    # Without byte code: whether the interpreter writes it is up to the caller.
    git(root, "add", "--all", "--force", "--", ".", ":(exclude,glob)**/__pycache__/**")
    git(root, "commit", "--quiet", "--message", "a test")
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for directory in ("contracts", "policies", "runtime-image", "supervisor"):
        (root / directory).mkdir(parents=True)
        (root / directory / "file").write_text(directory)
    (root / "pyproject.toml").write_text("[project]\n")
    (root / ".gitignore").write_text("*.ignored\n")
    git(tmp_path, "init", "--quiet", str(root))
    return root


def test_a_committed_tree_matches_its_commit(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = commit(tree)
    (tree / "supervisor" / "__pycache__").mkdir()
    (tree / "supervisor" / "__pycache__" / "file.pyc").write_text("made by the interpreter")
    (tree / "README.md").write_text("shapes no result")
    # As in a hook of another repository.
    monkeypatch.setenv("GIT_DIR", str(tree / "nowhere"))
    assert require_committed(tree) == head


def test_a_repository_with_the_other_digest_algorithm_is_supported(tmp_path: Path, tree: Path) -> None:
    other = tmp_path / "other"
    git(tmp_path, "init", "--quiet", "--object-format=sha256", str(other))
    for path in ("contracts", "policies", "runtime-image", "supervisor", "pyproject.toml"):
        (tree / path).rename(other / path)
    assert require_committed(other) if commit(other) else False
    (other / "policies" / "file").write_text("changed")
    with pytest.raises(EngineError, match=r"policies/file \(changed\)"):
        require_committed(other)


def refusal(tree: Path) -> str:
    with pytest.raises(EngineError) as caught:
        require_committed(tree)
    assert caught.value.code == "tree_unclean"
    return caught.value.detail


def test_every_difference_from_the_commit_is_named(tree: Path) -> None:
    commit(tree)
    (tree / "supervisor" / "file").write_text("changed")
    assert "supervisor/file (changed)" in refusal(tree)
    git(tree, "checkout", "--quiet", "--", ".")
    (tree / "supervisor" / "file").unlink()
    assert "supervisor/file (missing)" in refusal(tree)
    git(tree, "checkout", "--quiet", "--", ".")
    (tree / "policies" / "new").write_text("")
    assert "policies/new (not committed)" in refusal(tree)
    git(tree, "add", "policies/new")
    assert "policies/new (not committed)" in refusal(tree)
    git(tree, "rm", "--quiet", "--force", "policies/new")
    (tree / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert "pyproject.toml (changed)" in refusal(tree)


def test_files_that_git_ignores_count(tree: Path) -> None:
    commit(tree)
    (tree / "supervisor" / "x.ignored").write_text("")
    assert "supervisor/x.ignored (not committed)" in refusal(tree)
    (tree / "supervisor" / "x.ignored").unlink()
    git(tree, "update-index", "--assume-unchanged", "policies/file")
    (tree / "policies" / "file").write_text("changed")
    assert "policies/file (changed)" in refusal(tree)


def test_many_differences_are_counted(tree: Path) -> None:
    commit(tree)
    for number in range(9):
        (tree / "supervisor" / f"{number}.py").write_text("")
    assert refusal(tree).endswith("and 1 more")


def test_a_directory_that_is_no_checkout_is_refused(tree: Path, tmp_path: Path) -> None:
    assert "is not a git checkout with a commit" in refusal(tree)
    (tmp_path / "plain").mkdir()
    assert "is not a git checkout" in refusal(tmp_path / "plain")


def test_without_git_nothing_is_released(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(tree)
    monkeypatch.setattr(source_tree, "find_program", lambda _name: None)
    assert "git is not installed" in refusal(tree)


def test_a_hanging_git_is_reported(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = tmp_path / "git"
    hanging.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(600)\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(source_tree, "find_program", lambda _name: str(hanging))
    monkeypatch.setattr(source_tree, "GIT_TIMEOUT_S", 0.1)
    assert "did not answer" in refusal(tree)


def test_generated_files_must_be_current(tmp_path: Path) -> None:
    root = copy_source(tmp_path / "source")
    require_generated(root)
    (root / "contracts" / "schemas" / "trust.json").write_text("{}")
    with pytest.raises(EngineError, match=r"contracts/schemas/trust\.json"):
        require_generated(root)
