"""`weos-engine audit verify`, as a person and as a script use it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from contracts.verify.bundle import BUNDLE_CHECKS
from contracts.wire.canonical import canonical_bytes
from supervisor.commands.audit.verify import command
from supervisor.composition import SOURCE_ROOT
from tests.attacks.forging import MemoryLog, revocation_of
from tests.attacks.genuine import NONCE, Genuine, development_bundle, released_bundle
from tests.attacks.harmless import cosigned
from tests.attacks.logs import TRUST, make_genuine
from tests.attacks.on_statements import bit_flip_in_the_record

DEVELOPED = development_bundle()
RELEASED = released_bundle()
BLOCKED = ("aiohttp", "docker", "psutil", "pynvml", "rich")
# As a site customization: an installation without the extra [server].
BLOCKER = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.partition(".")[0])

sys.meta_path.insert(0, Absent())
"""


def put(place: Path, name: str, data: bytes) -> str:
    (place / name).write_bytes(data)
    return str(place / name)


def put_trust(place: Path, genuine: Genuine = DEVELOPED, **changes: Any) -> str:
    trust = genuine.trust.model_copy(update=changes)
    return put(place, "trust.json", trust.model_dump_json().encode())


def audit(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def test_a_bundle_gets_one_line_per_check_and_a_verdict(tmp_path: Path) -> None:
    bundle = put(tmp_path, "bundle.json", DEVELOPED.data)
    ran = audit(bundle, "--trust", put_trust(tmp_path), "--nonce", NONCE)
    assert ran.exit_code == 0, ran.output
    lines = ran.output.splitlines()
    assert lines[0] == bundle
    assert [line[7:].split("  ")[0] for line in lines[1 : 1 + len(BUNDLE_CHECKS)]] == list(BUNDLE_CHECKS)
    assert any("not proven" in line and "witness: none" in line for line in lines)
    assert lines[-1] == "VALID"


def test_checks_after_the_one_that_fails_are_not_reached(tmp_path: Path) -> None:
    attempt = bit_flip_in_the_record(DEVELOPED)
    ran = audit(put(tmp_path, "bundle.json", attempt.data), "--trust", put_trust(tmp_path))
    assert ran.exit_code == 1
    assert "FAIL record: signature" in ran.output
    assert "[BAD_SIGNATURE]" in ran.output
    assert ran.output.count("not reached") == len(BUNDLE_CHECKS) - BUNDLE_CHECKS.index("record: signature") - 1
    assert "not proven" not in ran.output
    assert ran.output.splitlines()[-1] == "BAD_SIGNATURE"


def test_the_wrong_challenge_is_found(tmp_path: Path) -> None:
    bundle = put(tmp_path, "bundle.json", DEVELOPED.data)
    ran = audit(bundle, "--trust", put_trust(tmp_path), "--nonce", "another", "--brief")
    assert ran.exit_code == 1
    assert ran.output.startswith("ID_MISMATCH")
    assert f"the record's is {NONCE}" in ran.output


def test_a_text_at_hand_is_compared(tmp_path: Path) -> None:
    bundle, trust = put(tmp_path, "bundle.json", DEVELOPED.data), put_trust(tmp_path)
    assert audit(bundle, "--trust", trust, "--output", put(tmp_path, "out", "Olá".encode())).exit_code == 0
    for text in (b"Ola", "Olá.".encode(), b""):
        ran = audit(bundle, "--trust", trust, "--output", put(tmp_path, "out", text))
        assert (ran.exit_code, ran.output.splitlines()[-1]) == (1, "OUTPUT_MISMATCH")
    assert audit(bundle, bundle, "--trust", trust, "--output", str(tmp_path / "out")).exit_code == 2


def test_a_revocation_that_the_bundle_keeps_quiet_about_counts(tmp_path: Path) -> None:
    bundle, trust = put(tmp_path, "bundle.json", RELEASED.data), put_trust(tmp_path, RELEASED)
    assert audit(bundle, "--trust", trust).exit_code == 0
    revocation = put(tmp_path, "revocation.json", revocation_of(RELEASED, 0))
    ran = audit(bundle, "--trust", trust, "--revocation", revocation, "--brief")
    assert (ran.exit_code, ran.output.split()[0]) == (1, "REVOKED")


def test_a_revocation_without_a_root_to_judge_it_is_an_error_of_use(tmp_path: Path) -> None:
    bundle, trust = put(tmp_path, "bundle.json", DEVELOPED.data), put_trust(tmp_path)
    revocation = put(tmp_path, "revocation.json", revocation_of(RELEASED, 0))
    ran = audit(bundle, "--trust", trust, "--revocation", revocation)
    assert ran.exit_code == 2
    assert "add the root keyring" in " ".join(ran.output.split())


def test_several_bundles_get_a_summary_and_fail_together(tmp_path: Path) -> None:
    good = put(tmp_path, "good.json", DEVELOPED.data)
    bad = put(tmp_path, "bad.json", bit_flip_in_the_record(DEVELOPED).data)
    trust = put_trust(tmp_path)
    assert audit(good, good, "--trust", trust).exit_code == 0
    ran = audit(good, bad, good, "--trust", trust, "--brief")
    assert ran.exit_code == 1
    lines = ran.output.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["VALID", "BAD_SIGNATURE", "VALID"]
    assert [line.split() for line in lines[-2:]] == [["VALID", "2"], ["BAD_SIGNATURE", "1"]]
    full = audit(good, bad, "--trust", trust)
    assert f"{bad} (2/2)" in full.output


def test_a_fork_between_two_bundles_is_found(tmp_path: Path) -> None:
    forked = DEVELOPED.document
    other = MemoryLog([*DEVELOPED.leaves[:-1], DEVELOPED.leaves[0]])
    started, final = DEVELOPED.positions
    forked["proofs"] = {"started": other.proof(started), "final": other.proof(final)}
    one, two = put(tmp_path, "one.json", DEVELOPED.data), put(tmp_path, "two.json", canonical_bytes(forked))
    trust = put_trust(tmp_path)
    assert audit(two, "--trust", trust).exit_code == 0
    ran = audit(one, two, "--trust", trust, "--json")
    assert ran.exit_code == 1
    assert [each["verdict"] for each in json.loads(ran.output)["bundles"]] == ["VALID", "FORK"]


def test_a_script_reads_the_report_as_json(tmp_path: Path) -> None:
    attempt = cosigned(DEVELOPED)
    good = put(tmp_path, "good.json", attempt.data)
    bad = put(tmp_path, "bad.json", b"{}")
    trust = put_trust(tmp_path, witnesses=attempt.trust.witnesses)
    ran = audit(good, bad, "--trust", trust, "--json")
    assert ran.exit_code == 1
    report = json.loads(ran.output)
    assert report["verdicts"] == {"SCHEMA_VIOLATION": 1, "VALID": 1}
    first, second = report["bundles"]
    assert (first["verdict"], first["seq"], first["ledger"]["started_index"]) == ("VALID", 2, 1)
    assert [each["name"] for each in first["ledger"]["witnesses"]] == ["witness.example"]
    assert {check["code"] for check in first["checks"]} == {"OK"}
    assert second["checks"][-1]["code"] == "SCHEMA_VIOLATION"
    assert "ledger" not in second


def test_what_is_no_trust_file_is_said(tmp_path: Path) -> None:
    bundle = put(tmp_path, "bundle.json", DEVELOPED.data)
    ran = audit(bundle, "--trust", bundle)
    assert ran.exit_code == 1
    assert "is not a trust file" in ran.output
    assert audit(bundle, "--trust", str(tmp_path / "none")).exit_code == 2
    assert audit(bundle).exit_code == 2


def test_a_file_name_cannot_paint_the_terminal(tmp_path: Path) -> None:
    bundle = put(tmp_path, "bundle\x1b[2J.json", DEVELOPED.data)
    ran = audit(bundle, "--trust", put_trust(tmp_path))
    assert ran.exit_code == 0
    assert "\x1b" not in ran.output


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of an installation without the extra [server]."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(BLOCKER)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(SOURCE_ROOT)])}


def weos(bare: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *arguments],
        env=bare,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_audit_needs_no_server(tmp_path: Path, bare: dict[str, str]) -> None:
    bundle, trust = put(tmp_path, "bundle.json", RELEASED.data), put_trust(tmp_path, RELEASED)
    ran = weos(bare, "audit", "verify", bundle, "--trust", trust)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "VALID"
    record = put(tmp_path, "record.json", canonical_bytes(DEVELOPED.document["record"]))
    alone = weos(bare, "audit", "record", record, "--trust", put_trust(tmp_path))
    assert alone.returncode == 0, alone.stderr


def test_a_whole_ledger_and_a_witness_need_no_server(tmp_path: Path, bare: dict[str, str]) -> None:
    log = make_genuine()
    export, trust = put(tmp_path, "export", b"".join(log.lines())), put(tmp_path, "log-trust.json", TRUST.canonical())
    note, witness = put(tmp_path, "note", log.checkpoint().encode()), str(tmp_path / "witness")
    for arguments in (
        ("log", export, "--trust", trust),
        ("consistency", note, note, "--trust", trust),
        ("witness", "init", "--name", "w", "--directory", witness),
        ("witness", "sign", note, "--trust", trust, "--directory", witness, "--output", str(tmp_path / "signed")),
    ):
        ran = weos(bare, "audit", *arguments)
        assert ran.returncode == 0, ran.stderr
    assert weos(bare, "audit", "range", note, "--trust", trust).stdout.splitlines()[-1] == "MALFORMED"


@pytest.mark.parametrize("name", ["serve", "setup", "release", "images"])
def test_what_needs_the_engine_says_which_installation_is_missing(bare: dict[str, str], name: str) -> None:
    ran = weos(bare, name)
    assert ran.returncode == 1
    assert ran.stderr.startswith("not_installed: ")
    assert "make bootstrap" in ran.stderr
    assert "Traceback" not in ran.stderr
