"""Create the virtual environment: the one step of set-up that runs before any dependency exists (stdlib only).

Idempotent: a stamp over the lock file, the checkout and the interpreter decides whether there is work.
Usage: ``python3 supervisor/bootstrap.py``; the place is ``$WEOS_HOME/venv``.
"""

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SOURCE_ROOT = Path(__file__).resolve().parent.parent
LOCK_FILE = SOURCE_ROOT / "supervisor" / "requirements.lock"
MINIMUM_PYTHON = (3, 11)
STEP_TIMEOUT_S = 1800
# Measured with `du` in 2026-11.
ENVIRONMENT_MB = 520
# Less than this is left where a disk is full: no package is smaller than a few blocks.
FULL_BYTES = 20 * 10**6
# strerror(3) of ENOSPC, as pip passes it on.
NO_SPACE = "No space left on device"
# Inside a virtual environment (perhaps the one to be replaced), use the interpreter that it was created from.
INTERPRETER: str = getattr(sys, "_base_executable", sys.executable)


class BootstrapError(Exception):
    """Something is missing; the message names it, says why it is needed, and gives the command that fixes it."""


def say(text: str) -> None:
    """Print a line for the person at the terminal."""
    print(text, flush=True)  # noqa: T201 - this script's output is for a person


def home() -> Path:
    """Return the directory of this installation, as `supervisor.place` does."""
    data_home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(os.environ.get("WEOS_HOME") or Path(data_home) / "weos").absolute()


def find_obstacle(place: Path) -> str | None:
    """Return why nothing can be executed on this machine; told before a package is fetched."""
    if str(SOURCE_ROOT) not in sys.path:
        # Called by its path, this script has only its own directory there.
        sys.path.append(str(SOURCE_ROOT))
    # Here, because an older Python, which `main` refuses, cannot read them.
    from supervisor.domain.preflight import find_machine_obstacle  # noqa: PLC0415
    from supervisor.setup.host.machine_facts import read_machine_facts  # noqa: PLC0415

    return find_machine_obstacle(read_machine_facts(place, SOURCE_ROOT))


def describe_full_disk(*places: Path) -> str:
    """Return which disk is full, and how much is needed."""
    free = ", ".join(f"{place}: {shutil.disk_usage(place).free / 1e6:.0f} MB left" for place in places)
    return f"the disk is full ({free}); the environment needs {ENVIRONMENT_MB} MB, and set-up 2 GB in all"


def digest_of(*parts: bytes) -> str:
    """Return one digest over several parts, each delimited by its own digest."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def require_venv_module() -> None:
    """Install Debian's ``python3-venv`` where the interpreter lacks it and installing is allowed.

    Raises:
        BootstrapError: the module is missing and may not, or cannot, be installed.
    """
    probe = [INTERPRETER, "-c", "import venv, ensurepip"]
    if subprocess.run(probe, capture_output=True, timeout=60, check=False).returncode == 0:  # noqa: S603
        return
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    how_to_fix = f"apt-get install {package}"
    if os.environ.get("WEOS_NO_INSTALL") == "1" or os.geteuid() != 0 or not shutil.which("apt-get"):
        message = f"this Python has no venv module, and the engine needs its own environment. Run: {how_to_fix}"
        raise BootstrapError(message)
    say(f"  installing Debian's {package}: this Python came without its venv module")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["apt-get", "update", "-q"], ["apt-get", "install", "-qy", package]):
        subprocess.run(  # noqa: S603
            step, check=True, env=environment, timeout=STEP_TIMEOUT_S, stdout=subprocess.DEVNULL
        )


def run_pip(python: Path, arguments: list[str], total: int) -> None:
    """Run pip and show how many of ``total`` packages it has collected.

    Raises:
        BootstrapError: pip failed; its last lines are in the message.
    """
    command = [str(python), "-m", "pip", "--no-input", "--disable-pip-version-check", "install", *arguments]
    log: list[str] = []
    seen = 0
    shown_at_s = 0.0
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        # A pip that hangs would block the reading for ever.
        deadline = threading.Timer(STEP_TIMEOUT_S, process.kill)
        deadline.start()
        for line in process.stdout or []:
            log = [*log[-19:], line.rstrip()]
            seen += line.startswith("Collecting ")
            if total and time.monotonic() - shown_at_s > 2 and seen:  # noqa: PLR2004 - a line every two seconds
                shown_at_s = time.monotonic()
                filled = min(30, 30 * seen // total)
                say(f"  [{'#' * filled}{'.' * (30 - filled)}] {seen}/{total} packages")
        deadline.cancel()
    if process.returncode != 0:
        tail = "\n    ".join(log)
        cause = "Check that a package index is reachable (pip download --no-deps click)"
        if process.returncode == -signal.SIGKILL:
            cause = f"It was ended, after {STEP_TIMEOUT_S} s at the latest: look for a slow package index or disk"
        if NO_SPACE in tail:
            # pip unpacks below TMPDIR, which may be another disk.
            cause = f"Make room: {describe_full_disk(python.parents[2], Path(tempfile.gettempdir()))}"
        message = f"pip could not install the locked packages:\n    {tail}\n  {cause}, then repeat the make command."
        raise BootstrapError(message)


def make_environment(venv: Path) -> None:
    """Create the environment from the lock file.

    Raises:
        BootstrapError: the venv module or a package cannot be installed.
    """
    say(f"Preparing the Python environment in {venv} (once; from hash-locked requirements)")
    require_venv_module()
    shutil.rmtree(venv, ignore_errors=True)
    subprocess.run(  # noqa: S603
        [INTERPRETER, "-m", "venv", str(venv)], check=True, timeout=STEP_TIMEOUT_S
    )
    total = sum("==" in line.partition(";")[0] for line in LOCK_FILE.read_text().splitlines())
    wheels = ["--require-hashes", "--no-deps", "--only-binary=:all:", "-r", str(LOCK_FILE)]
    run_pip(venv / "bin" / "python", wheels, total)


def is_stamped(stamp_file: Path, wanted: str) -> bool:
    """Return whether a step has already ended with these inputs."""
    return stamp_file.exists() and stamp_file.read_text() == wanted


def prepare(venv: Path) -> None:
    """Do the steps that are not done yet; each stamp is written last, so that half a step never counts as done."""
    started_s = time.monotonic()
    packages = digest_of(LOCK_FILE.read_bytes(), sys.version.encode(), sys.base_prefix.encode())
    project = digest_of(packages.encode(), (SOURCE_ROOT / "pyproject.toml").read_bytes(), bytes(SOURCE_ROOT))
    if is_stamped(venv / "weos-project", project):
        return
    if not is_stamped(venv / "weos-packages", packages):
        make_environment(venv)
        (venv / "weos-packages").write_text(packages)
    editable = ["--no-deps", "--no-build-isolation", "--editable", str(SOURCE_ROOT)]
    run_pip(venv / "bin" / "python", editable, 0)
    (venv / "weos-project").write_text(project)
    say(f"  environment ready in {time.monotonic() - started_s:.0f} s")


def main() -> int:
    """Create the environment where it is missing or outdated; return the exit status."""
    if sys.version_info < MINIMUM_PYTHON:
        say(
            f"weos-engine needs Python 3.11 or newer; this is {sys.version.split()[0]}. Try: make PYTHON=python3.11 run"
        )
        return 1
    place = home()
    obstacle = find_obstacle(place)
    if obstacle is not None:
        say(f"Set-up stopped: {obstacle}.")
        return 1
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (place / "bootstrap.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            prepare(place / "venv")
    except (BootstrapError, OSError, subprocess.SubprocessError) as error:
        say(f"Set-up stopped: {error}")
        if shutil.disk_usage(place if place.is_dir() else SOURCE_ROOT).free < FULL_BYTES:
            say(f"The reason may be that {describe_full_disk(place)}.")
        say(f"Everything goes into {place}; set WEOS_HOME to use another directory.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
