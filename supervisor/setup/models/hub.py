"""The Hugging Face Hub: what a repository says of a file, and the file itself.

`HF_ENDPOINT` and `HF_TOKEN` are read by the hub's own library, which is an optional package.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.wire.types import Digest
from supervisor.console.steps import Progress, Step
from supervisor.domain.errors import SetupError
from supervisor.domain.models.pull_source import HubSource, choose_file
from supervisor.setup.models.download import Patience

__all__ = ["HubFile", "download_hub_file", "look_up"]

LOOK_UP_TIMEOUT_S = 120
# The library retries within an attempt, and gives up on a connection that is silent for this long.
READ_TIMEOUT_S = 30
PATIENCE = Patience(silence_s=300.0, attempts=3)
POLL_S = 0.25
PACKAGE = "huggingface_hub>=2,<3"
# Its warnings may hold addresses with signatures, so nobody reads its standard error.
PROGRAM = (sys.executable, "-P", "-m", "supervisor.setup.models.hub_program")
UNKNOWN_LICENSE = "not said"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository, as the hub describes it."""

    repository: str
    commit: str
    file: str
    size_bytes: int
    sha256: Digest
    license: str
    """As the repository's author says."""
    is_gated: bool
    """Whether the hub gives the file only to those who have accepted the licence there."""

    @property
    def page(self) -> str:
        """Where a person reads about the repository."""
        return f"{_endpoint()}/{self.repository}"


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


def look_up(source: HubSource, quantization: str | None) -> HubFile:
    """Ask the hub for the file that is meant.

    Args:
        source: repository, and the file if the user named it.
        quantization: the quantization that the user named.

    Raises:
        SetupError: not_installed, source_fetch_failed, or licence_not_accepted where the hub asks for an account.
        EngineError: ``source_unknown``: there is no such file, or several fit.
    """
    found = _ask({"describe": {"repo_id": source.repository, "revision": source.revision}}, source.repository)
    files = found["files"]
    name = choose_file(tuple(files), source.file, quantization)
    if files[name] is None or not found["commit"]:
        message = f"the hub tells no SHA-256 of {name}, so nothing was fetched"
        raise SetupError("source_invalid", message)
    return HubFile(
        repository=source.repository,
        commit=found["commit"],
        file=name,
        size_bytes=files[name]["size_bytes"],
        sha256=f"sha256:{files[name]['sha256']}",
        license=_license_of(found["card"], found["tags"]),
        is_gated=bool(found["gated"]),
    )


def _license_of(card: dict[str, Any], tags: list[str]) -> str:
    words = (card.get("license_name") or card.get("license"), card.get("license_link"))
    said = " ".join(str(word) for word in words if word)
    return said or ", ".join(tag[8:] for tag in tags if tag.startswith("license:")) or UNKNOWN_LICENSE


def _ask(request: dict[str, Any], repository: str) -> dict[str, Any]:
    try:
        ran = subprocess.run(  # noqa: S603 - our own interpreter, fixed arguments
            PROGRAM,
            input=json.dumps(request),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=_environment(),
            timeout=LOOK_UP_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _failed(repository, f"nothing came for {LOOK_UP_TIMEOUT_S} s") from error
    answer = _parse_answer(ran.stdout)
    if "fault" in answer:
        raise _failed(repository, answer["fault"])
    return answer


def _parse_answer(text: str) -> dict[str, Any]:
    # A program that was ended from outside has written nothing.
    answer: dict[str, Any] = json.loads(text) if text else {"fault": "its program ended"}
    return answer


def _failed(repository: str, kind: str) -> SetupError:
    place = f"{_endpoint()}/{repository}"
    if kind == "ModuleNotFoundError":
        message = (
            "fetching from the Hugging Face Hub needs a package that is not installed: "
            f"{sys.executable} -m pip install '{PACKAGE}'"
        )
        return SetupError("not_installed", message)
    if kind == "GatedRepoError":
        message = (
            f"the hub gives {repository} only to accounts that accepted its licence: accept it at {place}, make a "
            "token at the hub, and set it: export HF_TOKEN=…"
        )
        return SetupError("licence_not_accepted", message)
    if kind in {"RepositoryNotFoundError", "RevisionNotFoundError", "RemoteEntryNotFoundError", "EntryNotFoundError"}:
        message = f"{place} is not there, or is not for everybody; a private one needs a token: export HF_TOKEN=…"
        return SetupError("source_fetch_failed", message)
    if kind == "OfflineModeIsEnabled":
        return SetupError("source_fetch_failed", "the hub is not asked while HF_HUB_OFFLINE is set; unset it")
    message = f"the hub did not answer as it should ({kind}); check that {_endpoint()} can be reached, and repeat"
    return SetupError("source_fetch_failed", message)


def download_hub_file(wanted: HubFile, directory: Path, progress: Progress, patience: Patience = PATIENCE) -> Path:
    """Return the fetched file; its digest is checked when it is installed.

    What an interrupted fetch has brought stays in the directory, and the next fetch goes on there.

    Args:
        wanted: the file.
        directory: where the file is kept; the caller holds it (`fetching_into`).
        progress: shows the steps.
        patience: when to give up.

    Raises:
        SetupError: source_fetch_failed or licence_not_accepted.
    """
    title = f"Fetching {wanted.file} of {wanted.repository}"
    with progress.step(title, f"{wanted.size_bytes / 1e6:.0f} MB, licence: {wanted.license}") as step:
        failures = 0
        while (kind := _fetch_once(wanted, directory, step, patience)) is not None:
            failures += 1
            error = _failed(wanted.repository, kind)
            if failures >= patience.attempts or error.code != "source_fetch_failed":
                raise error
            step.note(f"it broke off ({kind}); trying again")
            time.sleep(patience.pause_s)
    return directory / wanted.file


def _fetch_once(wanted: HubFile, directory: Path, step: Step, patience: Patience) -> str | None:
    """Run the program once; return the kind of what went wrong."""
    arguments = {
        "repo_id": wanted.repository,
        "filename": wanted.file,
        "revision": wanted.commit,
        "local_dir": str(directory),
    }
    with subprocess.Popen(  # noqa: S603 - our own interpreter, fixed arguments
        PROGRAM,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # The library's own caches are of no use afterwards.
        env={**_environment(), "HF_XET_CACHE": str(directory / ".cache" / "xet")},
    ) as process:
        try:
            assert process.stdin is not None  # noqa: S101 - a pipe
            assert process.stdout is not None  # noqa: S101 - a pipe
            # The pipe stays open: the program ends when its other end is gone.
            process.stdin.write(json.dumps({"fetch": arguments}) + "\n")
            process.stdin.flush()
            if not _wait(process, wanted, directory, step, patience.silence_s):
                return f"nothing came for {patience.silence_s:.0f} s"
            fault: str | None = _parse_answer(process.stdout.read()).get("fault")
            return fault
        finally:
            process.kill()


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": str(READ_TIMEOUT_S),
    }


def _wait(process: subprocess.Popen[str], wanted: HubFile, directory: Path, step: Step, silence_s: float) -> bool:
    """Wait for the end of the program; return False where nothing came for too long."""
    most_bytes, since_s = 0, time.monotonic()
    while process.poll() is None:
        there_bytes = _bytes_there(directory)
        if there_bytes > most_bytes:
            most_bytes, since_s = there_bytes, time.monotonic()
        elif time.monotonic() - since_s > silence_s:
            return False
        shown_bytes = min(there_bytes, wanted.size_bytes)
        detail = f"{shown_bytes / 1e6:.0f} of {wanted.size_bytes / 1e6:.0f} MB"
        step.update(shown_bytes, wanted.size_bytes, detail)
        time.sleep(POLL_S)
    return True


def _bytes_there(directory: Path) -> int:
    total_bytes = 0
    for path in directory.rglob("*"):
        try:
            # What the disk holds: a file may be made as long as it will be.
            total_bytes += path.lstat().st_blocks * 512
        except FileNotFoundError:
            # Renamed or removed between the listing and the look at it.
            continue
    return total_bytes
