"""Archives that are fetched by hash on the host, through pip, and unpacked under WEOS_HOME."""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from contracts.wire.types import Digest
from supervisor.adapters.files import digest_of_file
from supervisor.console.steps import Progress, Step
from supervisor.domain.errors import SetupError
from supervisor.setup.images.unpacking import unpack_files

__all__ = ["Archive", "fetch_archive", "llama_cpp_commit", "parse_archives", "unpack_source"]

FETCH_TIMEOUT_S = 1800
POLL_S = 0.25
LOG_LINES_SHOWN = 8

_LINE = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.+!]+) --hash=sha256:(?P<sha256>[0-9a-f]{64})"
    r"  # (?P<size_bytes>[0-9]+)(?P<wheel> wheel)?"
)
# "- feat: update llama.cpp to ggml-org/llama.cpp@0c1e57098", under the version's heading.
_COMMIT = re.compile(r"ggml-org/llama\.cpp@([0-9a-f]{7,40})")


@dataclass(frozen=True)
class Archive:
    """One pinned file of the Python package index."""

    name: str
    version: str
    sha256: str
    """In hexadecimal, as pip and the names of kept files have it."""
    size_bytes: int
    is_source: bool

    @property
    def digest(self) -> Digest:
        """The digest of the file."""
        return f"sha256:{self.sha256}"

    @property
    def requirement(self) -> str:
        """The line of a requirements file that names this file and no other."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


def parse_archives(text: str) -> dict[str, Archive]:
    """Parse `sources.txt`.

    Raises:
        SetupError: definition_invalid.
    """
    archives: dict[str, Archive] = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            message = f"sources.txt has a line that is not 'NAME==VERSION --hash=sha256:HEX  # BYTES[ wheel]': {line!r}"
            raise SetupError("definition_invalid", message)
        archive = Archive(
            match["name"],
            match["version"],
            match["sha256"],
            int(match["size_bytes"]),
            is_source=match["wheel"] is None,
        )
        archives[archive.name] = archive
    return archives


def fetch_archive(home: Path, archive: Archive, reason: str, progress: Progress) -> Path:
    """Return the archive's file, fetched if it is not there yet.

    Raises:
        SetupError: source_fetch_failed.
    """
    kept = home / "cache" / "archives" / archive.sha256
    if kept.exists():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    title = f"Fetching {archive.name} {archive.version}"
    with progress.step(title, reason) as step, tempfile.TemporaryDirectory(dir=home / "cache") as name:
        fetched = _download(Path(name), archive, step)
        # pip has checked the hash; this check is ours, of the file that is kept.
        if digest_of_file(fetched) != archive.digest:
            message = f"{fetched.name} does not have the pinned SHA-256; fetch again: make setup"
            raise SetupError("source_fetch_failed", message)
        fetched.replace(kept)
    return kept


def _download(work_dir: Path, archive: Archive, step: Step) -> Path:
    requirements = work_dir / "requirements.txt"
    requirements.write_text(archive.requirement + "\n", encoding="utf-8")
    downloads = work_dir / "downloads"
    scratch = work_dir / "tmp"
    scratch.mkdir()
    log = work_dir / "log"
    kind = ["--no-binary", archive.name] if archive.is_source else ["--only-binary", archive.name]
    command = [
        *(sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--no-input", "download"),
        *("--require-hashes", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--progress-bar", "off"),
        *(*kind, "--dest", str(downloads), "-r", str(requirements)),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, fixed arguments
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=_environment(scratch),
        )
        try:
            _wait(process, scratch, archive, step)
        finally:
            process.kill()
            process.wait()
    files = list(downloads.glob("*")) if downloads.exists() else []
    if process.returncode != 0 or len(files) != 1:
        tail = "\n  ".join(log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])
        message = (
            f"pip could not fetch {archive.name} {archive.version}, which the runtime needs:\n  {tail}\n"
            f"Check that a package index is reachable: {sys.executable} -m pip download --no-deps click"
        )
        raise SetupError("source_fetch_failed", message)
    return files[0]


def _environment(scratch: Path) -> dict[str, str]:
    # pip downloads into its temporary directory first: the growing file is the progress.
    return {**os.environ, "TMPDIR": str(scratch)}


def _wait(process: subprocess.Popen[bytes], scratch: Path, archive: Archive, step: Step) -> None:
    deadline_s = time.monotonic() + FETCH_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        largest = _largest_file_bytes(scratch)
        detail = f"{largest / 1e6:.0f} of {archive.size_bytes / 1e6:.0f} MB"
        step.update(largest, archive.size_bytes, detail)
        time.sleep(POLL_S)


def _largest_file_bytes(directory: Path) -> int:
    try:
        return max((path.stat().st_size for path in directory.rglob("*") if path.is_file()), default=0)
    except FileNotFoundError:
        # pip removed a file between the listing and the look at it.
        return 0


def unpack_source(home: Path, archive: Archive, file: Path, progress: Progress) -> Path:
    """Return the directory of an unpacked source archive.

    Raises:
        SetupError: source_invalid.
    """
    target = home / "cache" / "sources" / archive.sha256
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    title = f"Unpacking {archive.name} {archive.version}"
    with (
        progress.step(title, "the compiler reads its files") as step,
        tempfile.TemporaryDirectory(dir=target.parent) as name,
    ):
        try:
            with file.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:gz") as tar:
                unpack_files(tar, Path(name), lambda file: step.update(raw.tell(), archive.size_bytes, file))
        except (tarfile.TarError, OSError, EOFError) as error:
            message = f"{file} cannot be unpacked ({error}). Remove it and set up again: rm {file} && make setup"
            raise SetupError("source_invalid", message) from error
        (root,) = Path(name).iterdir()
        root.replace(target)
    return target


def llama_cpp_commit(source_dir: Path, version: str) -> str | None:
    """Return the llama.cpp commit that a release of llama-cpp-python vendors, as its change log says.

    None where the change log does not say: the archive holds no other trace of it.
    """
    changelog = source_dir / "CHANGELOG.md"
    if not changelog.exists():
        return None
    _, _, rest = changelog.read_text(encoding="utf-8").partition(f"## [{version}]\n")
    match = _COMMIT.search(rest.partition("\n## [")[0])
    return match[1] if match else None
