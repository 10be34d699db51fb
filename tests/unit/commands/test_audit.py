"""The command line of auditors: whole ledgers, checkpoints and ranges in files."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import tests.attacks.on_logs_by_their_owner  # noqa: F401 - adds its attacks
from contracts.ledger.note import Verifier, parse_note
from contracts.verify.consistency import verify_checkpoint
from supervisor.cli import _root
from supervisor.domain.errors import EngineError
from tests.attacks.logs import DEVELOPMENT, LOG, TRUST, make_genuine, prove_extension
from tests.attacks.on_logs import ATTACKS


class Answering:
    """An engine's API that gives one answer, and remembers what it was asked."""

    def __init__(self) -> None:
        self.body = b""
        self.status = 200
        self.seen: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.seen.append((self.path, self.headers.get("Authorization")))
                self.send_response(outer.status)
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def answering() -> Iterator[Answering]:
    made = Answering()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(_root, [str(each) for each in arguments])


def done(*arguments: str | Path) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    path = tmp_path / "trust.json"
    path.write_bytes(TRUST.canonical())
    return path


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_a_genuine_export_is_shown_as_valid(tmp_path: Path, trust: Path) -> None:
    file = write(tmp_path / "export", b"".join(make_genuine().lines()))
    shown = done("audit", "log", file, "--trust", trust)
    assert shown.endswith("VALID\n")
    assert "1 aborted, 3 completed" in shown
    document = json.loads(done("audit", "log", file, "--trust", trust, "--json"))
    assert document["verdict"] == "VALID"
    assert document["summary"]["statements"] == {DEVELOPMENT: 8}


@pytest.mark.parametrize("name", ["nothing_at_all", "bit_of_a_record_flipped", "result_left_out", "another_log"])
def test_an_export_that_is_not_genuine_ends_with_its_code(tmp_path: Path, trust: Path, name: str) -> None:
    lines, _ = ATTACKS[name].make()
    file = write(tmp_path / "export", b"".join(lines))
    result = call("audit", "log", file, "--trust", trust)
    assert (result.exit_code, result.output.splitlines()[-1]) == (1, ATTACKS[name].code)
    shown = call("audit", "log", file, "--trust", trust, "--json")
    assert (shown.exit_code, json.loads(shown.output)["verdict"]) == (1, ATTACKS[name].code)


def test_no_more_is_read_than_the_checkpoint_tells_of(tmp_path: Path, trust: Path) -> None:
    lines = make_genuine().lines()
    file = write(tmp_path / "export", b"".join([*lines, *lines[1:] * 3]))
    shown = json.loads(call("audit", "log", file, "--trust", trust, "--json").output)
    assert (shown["verdict"], shown["summary"]["entries"]) == ("INCONSISTENT", 9)


def test_a_newer_checkpoint_extends_an_older_one(tmp_path: Path, trust: Path) -> None:
    log = make_genuine()
    old, new = write(tmp_path / "old", log.checkpoint(3)), write(tmp_path / "new", log.checkpoint())
    proof = write(tmp_path / "proof", prove_extension(log, 3, 8))
    export = write(tmp_path / "export", b"".join(log.lines()))
    for evidence in (("--proof", proof), ("--export", export)):
        assert done("audit", "consistency", old, new, "--trust", trust, *evidence).endswith("VALID\n")
    alone = call("audit", "consistency", old, new, "--trust", trust)
    assert (alone.exit_code, alone.output.splitlines()[-1]) == (1, "INCONSISTENT")
    back = call("audit", "consistency", new, old, "--trust", trust, "--json")
    assert (back.exit_code, json.loads(back.output)["verdict"]) == (1, "ROLLBACK")
    assert call("audit", "consistency", old, new, "--trust", trust, "--proof", proof, "--export", export).exit_code == 2
    assert "is not an export" in call("audit", "consistency", old, new, "--trust", trust, "--export", old).output
    assert call("audit", "consistency", proof, new, "--trust", trust, "--export", export).exit_code == 1


def test_a_proof_is_asked_for_where_the_api_answers(
    tmp_path: Path, trust: Path, monkeypatch: pytest.MonkeyPatch, answering: Answering
) -> None:
    log = make_genuine()
    old, new = write(tmp_path / "old", log.checkpoint(3)), write(tmp_path / "new", log.checkpoint())
    answering.body = prove_extension(log, 3, 8)
    monkeypatch.setenv("WEOS_TOKEN_FILE", str(write(tmp_path / "token", "secret\n")))
    assert done("audit", "consistency", old, new, "--trust", trust, "--url", answering.url).endswith("VALID\n")
    assert answering.seen == [("/v1/ledger/consistency?from=3&to=8", "Bearer secret")]
    monkeypatch.delenv("WEOS_TOKEN_FILE")
    answering.status = 500
    assert "gave no proof" in call("audit", "consistency", old, new, "--trust", trust, "--url", answering.url).output
    assert answering.seen[-1][1] is None
    assert (
        "must begin with http" in call("audit", "consistency", old, new, "--trust", trust, "--url", "file:///x").output
    )


class TestWitness:
    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WEOS_WITNESS_DIR", str(tmp_path / "witness"))

    def sign(self, tmp_path: Path, trust: Path, note: str, *more: str | Path) -> Result:
        file = write(tmp_path / "note", note)
        return call("audit", "witness", "sign", file, "--trust", trust, "--output", tmp_path / "signed", *more)

    def test_it_countersigns_what_extends_the_last_one(self, tmp_path: Path, trust: Path) -> None:
        key = done("audit", "witness", "init", "--name", "witness.example/w").strip()
        assert done("audit", "witness", "key").strip() == key
        log = make_genuine()
        assert self.sign(tmp_path, trust, log.checkpoint(3)).exit_code == 0
        proof = write(tmp_path / "proof", prove_extension(log, 3, 8))
        assert self.sign(tmp_path, trust, log.checkpoint(), "--proof", proof).exit_code == 0
        signed = (tmp_path / "signed").read_bytes()
        verified = verify_checkpoint(signed, TRUST.model_copy(update={"witnesses": (key,)}))
        assert verified.verdict == "VALID"
        assert "witness.example/w at" in verified.checks[-1].message
        # Signed again it has one signature of this witness, the newer one.
        assert self.sign(tmp_path, trust, signed.decode()).exit_code == 0
        again = parse_note((tmp_path / "signed").read_bytes())
        assert len(again.signatures) == 2
        assert Verifier.parse(key).holds(again) is True

    @pytest.mark.parametrize(("size", "code"), [(3, "ROLLBACK"), (8, "FORK")])
    def test_it_refuses_a_contradiction_and_keeps_both(self, tmp_path: Path, trust: Path, size: int, code: str) -> None:
        done("audit", "witness", "init", "--name", "w")
        log, other = make_genuine(), make_genuine()
        other.entries.reverse()
        assert self.sign(tmp_path, trust, log.checkpoint()).exit_code == 0
        (tmp_path / "signed").unlink()
        refused = self.sign(tmp_path, trust, other.checkpoint(size))
        assert (refused.exit_code, refused.output.splitlines()[-1]) == (1, code)
        assert not (tmp_path / "signed").exists()
        kept = {path.name: path.read_text() for path in (tmp_path / "witness" / "evidence").glob("*/*")}
        assert kept == {"seen.note": log.checkpoint(), "shown.note": other.checkpoint(size)}
        # What was seen is still what counts.
        assert self.sign(tmp_path, trust, log.checkpoint()).exit_code == 0

    def test_it_signs_no_growth_without_proof(self, tmp_path: Path, trust: Path) -> None:
        done("audit", "witness", "init", "--name", "w")
        log = make_genuine()
        assert self.sign(tmp_path, trust, log.checkpoint(3)).exit_code == 0
        shown = self.sign(tmp_path, trust, log.checkpoint(), "--json")
        assert (shown.exit_code, json.loads(shown.output)["verdict"]) == (1, "INCONSISTENT")
        assert not (tmp_path / "witness" / "evidence").exists()

    def test_it_signs_no_strange_log(self, tmp_path: Path, trust: Path) -> None:
        done("audit", "witness", "init", "--name", "w")
        lines, _ = ATTACKS["another_log"].make()
        note = json.loads(lines[0])["checkpoint"]
        assert self.sign(tmp_path, trust, note).output.splitlines()[-1] == "WRONG_ORIGIN"
        assert self.sign(tmp_path, trust, "none").output.splitlines()[-1] == "BAD_CHECKPOINT"

    def test_what_was_seen_is_kept_before_a_signature_is_given(
        self, tmp_path: Path, trust: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done("audit", "witness", "init", "--name", "w")
        # A directory in its place: nothing can be written there, not even by root.
        origin = hashlib.sha256(LOG.verifier.name.encode()).hexdigest()
        (tmp_path / "witness" / "seen" / f"{origin}.note").mkdir(parents=True)
        result = self.sign(tmp_path, trust, make_genuine().checkpoint())
        assert result.exit_code != 0
        assert not (tmp_path / "signed").exists()

    def test_there_is_one_witness_in_a_directory(self, tmp_path: Path, trust: Path) -> None:
        missing = self.sign(tmp_path, trust, make_genuine().checkpoint())
        assert isinstance(missing.exception, EngineError)
        assert missing.exception.code == "witness_missing"
        bad = call("audit", "witness", "init", "--name", "two words")
        assert isinstance(bad.exception, EngineError)
        done("audit", "witness", "init", "--name", "w")
        again = call("audit", "witness", "init", "--name", "w")
        assert isinstance(again.exception, EngineError)
        assert again.exception.code == "witness_exists"
