"""Checks that a source tree equals a commit of its repository, byte for byte and without additional files."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from supervisor.adapters.identity.engine_version import SHAPING_DIRECTORIES, source_files
from supervisor.domain.errors import EngineError
from supervisor.setup.host.programs import find_program

__all__ = ["require_committed", "require_generated"]

GIT_TIMEOUT_S = 60
GENERATE_TIMEOUT_S = 120
SHOWN = 8
PROJECT_FILE = "pyproject.toml"


def _ask_git(source_root: Path, *arguments: str) -> str:
    program = find_program("git")
    if program is None:
        raise EngineError("tree_unclean", "git is not installed; it is needed to check that this tree is committed")
    # Inside a git hook, these variables would name another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed program, no shell
            [program, "-C", str(source_root), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError("tree_unclean", f"git did not answer within {GIT_TIMEOUT_S} s") from error
    if answer.returncode != 0:
        why = (answer.stderr.strip().splitlines() or ["git printed no error message"])[-1]
        raise EngineError("tree_unclean", f"{source_root} is not a git checkout with a commit: {why}")
    return answer.stdout


def _blob_id(path: Path, *, like: str) -> str:
    # git's id of a file is the digest of its kind, its size and its bytes, in the repository's algorithm.
    data = path.read_bytes()
    algorithm = "sha256" if len(like) == hashlib.sha256().digest_size * 2 else "sha1"
    return hashlib.new(algorithm, b"blob %d\0" % len(data) + data).hexdigest()


def require_committed(source_root: Path) -> str:
    """Return the commit that the tree equals.

    The check covers every file that shapes a result, and `pyproject.toml`: each must be in the commit with the same
    bytes, and no such file of the commit may be missing. Files that git ignores count like all others.

    Raises:
        EngineError: ``tree_unclean``; the detail names the files that differ.
    """
    commit = _ask_git(source_root, "rev-parse", "--verify", "HEAD").strip()
    listed = _ask_git(source_root, "ls-tree", "-r", "-z", "HEAD", "--", *SHAPING_DIRECTORIES, PROJECT_FILE)
    committed = {}
    for line in filter(None, listed.split("\0")):
        facts, name = line.split("\t", 1)
        committed[name] = facts.split()[2]
    present = {PROJECT_FILE, *(file.path for file in source_files(source_root))}
    differ = [
        *(f"{name} (not committed)" for name in sorted(present - committed.keys())),
        *(f"{name} (missing)" for name in sorted(committed.keys() - present)),
        *(
            f"{name} (changed)"
            for name in sorted(present & committed.keys())
            if _blob_id(source_root / name, like=commit) != committed[name]
        ),
    ]
    if differ:
        more = f" and {len(differ) - SHOWN} more" if len(differ) > SHOWN else ""
        detail = f"a version is released from a commit, but these files differ: {', '.join(differ[:SHOWN])}{more}"
        raise EngineError("tree_unclean", detail)
    return commit


def require_generated(source_root: Path) -> None:
    """Raise unless the published schemas match the contracts in the tree.

    Raises:
        EngineError: ``tree_unclean``.
    """
    answer = subprocess.run(
        [sys.executable, "-P", "-m", "contracts.generate", "--check"],
        capture_output=True,
        text=True,
        timeout=GENERATE_TIMEOUT_S,
        check=False,
        env={**os.environ, "PYTHONPATH": str(source_root)},
    )
    if answer.returncode != 0:
        why = (answer.stderr.strip().splitlines() or ["the check printed no error message"])[-1]
        raise EngineError("tree_unclean", f"the generated files are out of date: {why}")
