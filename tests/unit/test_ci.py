"""`.ci/run`: the gates in the environment of a plain login."""

import os
import subprocess
from pathlib import Path

from tests.places import REPOSITORY

STAND_IN = '#!/bin/sh\nenv > "$HOME/$1"\n[ ! -e "$HOME/fail-$1" ]\n'
FOREIGN = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": "/x", "FORCE_COLOR": "1"}
OF_THE_MACHINE = {"https_proxy": "p:1", "SSL_CERT_FILE": "/c", "PIP_FIND_LINKS": "/w", "WEOS_HOME": "/h", "TERM": "t"}


def run(home: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    programs = home / "bin"
    programs.mkdir()
    make = programs / "make"
    make.write_text(STAND_IN)
    make.chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    return subprocess.run(
        [str(REPOSITORY / ".ci" / "run")],
        env={"PATH": path, "HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def environment_of(file: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


def test_every_gate_gets_what_the_machine_needs_and_nothing_of_the_caller(tmp_path: Path) -> None:
    ran = run(tmp_path, **FOREIGN, **OF_THE_MACHINE)
    assert ran.returncode == 0, ran.stderr
    for target in ("check", "run", "test"):
        given = environment_of(tmp_path / target)
        # The shell that the stand-in is adds these.
        for name in ("PWD", "OLDPWD", "SHLVL", "_"):
            given.pop(name, None)
        assert given.keys() == {"PATH", "HOME", "WEOS_REQUIRE_GVISOR", *OF_THE_MACHINE}
        assert OF_THE_MACHINE.items() <= given.items()


def test_a_gate_that_fails_is_the_last(tmp_path: Path) -> None:
    (tmp_path / "fail-run").touch()
    assert run(tmp_path).returncode != 0
    assert not (tmp_path / "test").exists()
