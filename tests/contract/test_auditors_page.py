"""The auditors' page by hand: its commands, with the interpreter and openssl alone, agree with the verifier."""

import os
import re
import subprocess
import sys
from pathlib import Path

from contracts.generate import DIRECTORY
from tests.factories import make_signer
from tests.releases import ROOT, make_manifest, make_release, sealed_manifest

PAGE = (DIRECTORY / "README.md").read_text()


def follow(place: Path, manifest: bytes) -> "subprocess.CompletedProcess[str]":
    """Run the page's first block of commands on a manifest."""
    (place / "manifest.json").write_bytes(manifest)
    block = re.search(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-c", block.group(1)],
        cwd=place,
        env={"PATH": path, "ROOT_PUBLIC_KEY": ROOT.public_key},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_manifest_is_verified_by_hand(tmp_path: Path) -> None:
    ran = follow(tmp_path, sealed_manifest())
    assert ran.returncode == 0, ran.stderr
    assert make_release().digest.removeprefix("sha256:") in ran.stdout
    assert "Signature Verified Successfully" in ran.stdout


def test_a_home_made_manifest_fails_by_hand(tmp_path: Path) -> None:
    ran = follow(tmp_path, sealed_manifest(make_manifest(), make_signer()))
    assert ran.returncode != 0
    assert "Verified Successfully" not in ran.stdout


def test_every_code_of_the_page_is_one_that_the_verifier_gives() -> None:
    source = "".join(path.read_text() for path in DIRECTORY.rglob("*.py"))
    codes = set(re.findall(r"`([A-Z][A-Z_]+)`", PAGE)) - {"TRUST"}
    assert codes
    assert {code for code in codes if f'"{code}"' not in source} == set()
