"""The page on verifying by hand: every step runs in its order, with openssl and a bare interpreter."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.attacks.genuine import Genuine, development_bundle
from tests.factories import make_conclusion
from tests.places import REPOSITORY

PAGE = REPOSITORY / "contracts" / "BY-HAND.md"
STEPS = re.findall(r"```(python|sh)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
VERIFIED = "Signature Verified Successfully"
TIMEOUT_S = 60


def do_by_hand(place: Path, bundle: bytes, trust: bytes) -> list["subprocess.CompletedProcess[str]"]:
    """Do the page's steps up to the first that fails."""
    (place / "bundle.json").write_bytes(bundle)
    (place / "trust.json").write_bytes(trust)
    done = []
    for language, code in STEPS:
        # Nothing but the standard library: isolated, and without site packages.
        command = [sys.executable, "-I", "-S", "-c", code] if language == "python" else ["sh", "-e", "-c", code]
        ended = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        done.append(ended)
        if ended.returncode != 0:
            break
    return done


@pytest.fixture(scope="module")
def genuine() -> Genuine:
    return development_bundle()


def test_a_genuine_bundle_comes_through_every_step(tmp_path: Path, genuine: Genuine) -> None:
    done = do_by_hand(tmp_path, genuine.data, genuine.trust.model_dump_json().encode())
    assert [(each.returncode, each.stderr) for each in done] == [(0, "")] * len(STEPS)
    assert "".join(each.stdout for each in done).count(VERIFIED) == 3


@pytest.mark.parametrize(
    ("part", "old", "new", "step"),
    [
        ("record", '"payload":"', '"payload":"A', 0),
        ("record", '"sig":"', '"sig":"AAAA', 2),
        ("proofs", "index 1", "index 2", 6),
        ("proofs", "\\n\\n", "\\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\\n\\n", 6),
    ],
)
def test_a_change_is_found_at_its_step(
    tmp_path: Path, genuine: Genuine, part: str, old: str, new: str, step: int
) -> None:
    document = genuine.document
    changed = json.dumps(document[part], separators=(",", ":"), ensure_ascii=False)
    assert old in changed
    document[part] = json.loads(changed.replace(old, new, 1))
    done = do_by_hand(tmp_path, json.dumps(document).encode(), genuine.trust.model_dump_json().encode())
    assert (len(done) - 1, done[-1].returncode) != (len(STEPS) - 1, 0)
    assert len(done) - 1 == step


def test_another_ledger_is_not_trusted(tmp_path: Path, genuine: Genuine) -> None:
    trust = genuine.trust.model_copy(update={"logs": ()})
    done = do_by_hand(tmp_path, genuine.data, trust.model_dump_json().encode())
    assert "WRONG_ORIGIN" in done[-1].stderr


@pytest.mark.parametrize(("field", "value"), [("isolation", None), ("image", "sha256:" + "0" * 64), ("cpus", (0, 5))])
def test_a_record_that_contradicts_itself_is_found(tmp_path: Path, field: str, value: object) -> None:
    sandbox = make_conclusion().sandbox
    assert sandbox is not None
    lying = development_bundle(make_conclusion(sandbox=sandbox.model_copy(update={field: value})))
    done = do_by_hand(tmp_path, lying.data, lying.trust.model_dump_json().encode())
    assert "Error" in done[-1].stderr
    assert len(done) == 6
