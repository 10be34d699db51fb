"""Every row of the auditors' list of verdicts, tried on genuine bundles."""

import re

import pytest

from contracts.generate import DIRECTORY
from contracts.verify.bundle import BUNDLE_CHECKS, verify_bundle
from tests.attacks.forging import Attack
from tests.attacks.genuine import NONCE, Genuine, development_bundle, left_behind_bundle, released_bundle
from tests.attacks.on_bundles import ANY, DEVELOPMENT_ONLY, RELEASED_ONLY

# Verdicts about more than one bundle; `audit log` and `compare_bundles` give them.
OF_SEVERAL = {"DUPLICATE_ID", "MISSING_RESULT"}
CODES = {
    *("BAD_SIGNATURE", "ID_MISMATCH", "DUPLICATE_ID", "KEY_VERSION_MISMATCH", "UNTRUSTED_MANIFEST", "REVOKED"),
    *("OUT_OF_VALIDITY", "ROOT_ROLLBACK", "ROLLBACK", "FORK", "INCONSISTENT", "BAD_CHECKPOINT", "WRONG_ORIGIN"),
    *("BAD_INCLUSION", "MALFORMED", "OUT_OF_RANGE", "WEAK_KEY", "SCHEMA_VIOLATION", "UNSUPPORTED_TYPE"),
    *("SIGNATURE_COUNT", "METRIC_INCONSISTENT", "MISSING_RESULT", "TOO_LARGE"),
}
CASES = [
    *(("development", attack, code) for attack, code in (*ANY, *DEVELOPMENT_ONLY)),
    *(("released", attack, code) for attack, code in (*ANY, *RELEASED_ONLY)),
]


@pytest.fixture(scope="module")
def bundles() -> dict[str, Genuine]:
    return {
        "development": development_bundle(),
        "released": released_bundle(),
        "left behind": left_behind_bundle(),
    }


@pytest.mark.parametrize("kind", ["development", "released", "left behind"])
def test_a_genuine_bundle_is_valid(bundles: dict[str, Genuine], kind: str) -> None:
    genuine = bundles[kind]
    report = verify_bundle(genuine.data, genuine.trust, nonce=NONCE)
    assert report.verdict == "VALID", report.checks[-1]
    made = [check.name for check in report.checks]
    assert [name for name in made if name in BUNDLE_CHECKS] == list(BUNDLE_CHECKS)
    assert report.place is not None
    assert report.place.positions == genuine.positions
    assert report.place.checkpoint.size == len(genuine.leaves)


@pytest.mark.parametrize(("kind", "attack", "code"), CASES, ids=[f"{k}-{a.__name__}" for k, a, _ in CASES])
def test_an_attack_gives_its_code(bundles: dict[str, Genuine], kind: str, attack: Attack, code: str) -> None:
    attempt = attack(bundles[kind])
    report = verify_bundle(attempt.data, attempt.trust, nonce=attempt.nonce, revocations=attempt.revocations)
    assert report.verdict == code, report.checks[-1]
    assert [check.code for check in report.checks[:-1]] == ["OK"] * (len(report.checks) - 1)
    assert bool(report.not_proven) == (code == "VALID")


def test_every_verdict_of_the_list_is_tried() -> None:
    assert {code for _, _, code in CASES} - {"VALID"} == CODES - OF_SEVERAL


def test_every_verdict_is_explained_to_auditors() -> None:
    page = (DIRECTORY / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`([A-Z][A-Z_]+)`", page)) >= CODES - OF_SEVERAL
