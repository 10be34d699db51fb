"""A real release: the installed image tried for real, a version made of it, run, compared, drifted and revoked."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from contracts.verify.release import verify_comparison, verify_validation
from contracts.verify.speaker import verify_released_record
from contracts.verify.trust import Trust
from contracts.wire.types import IsolationTier
from supervisor.adapters.home import Home
from supervisor.adapters.identity.engine_version import development_version, release_version
from supervisor.adapters.identity.keys import engine_passphrase, key_path, read_signer
from supervisor.adapters.identity.release_store import ReleaseStore
from supervisor.adapters.kernel.host import read_host_facts
from supervisor.composition import SOURCE_ROOT
from supervisor.console.steps import Step
from supervisor.domain.errors import EngineError
from supervisor.escape.catalogue import Planned, plan_attempts
from supervisor.release.conformance import PROPERTIES
from supervisor.release.create import ReleaseOrder, create_release
from supervisor.release.escape_suite import InstalledEscapeSuite, read_candidate
from supervisor.release.root_directory import RootDirectory
from supervisor.release.subject import Broken, Subject
from supervisor.release.trial import EscapeSuite, Trial
from supervisor.release.workload import Case, Workload
from tests.factories import make_escape_report
from tests.fakes.run_requests import spec_request
from tests.integration.conftest import serving
from tests.release_home import PASSPHRASE, copy_source, set_version
from tests.silent_progress import SilentProgress
from tests.unit.release.test_source_tree import commit, git

pytestmark = pytest.mark.docker

BACKEND = "cpu_avx2"
CASES = (Case("short_answer", "The capital of France is", 8, "raw"),)
WORKLOAD = Workload(CASES, repeats=2)
TIERS: dict[IsolationTier, str | None] = {"hardened": None, "gvisor": "this test does not ask for it"}
FIRST = release_version(SOURCE_ROOT)
NEXT = ".".join([*FIRST.split(".")[:2], str(int(FIRST.split(".")[2]) + 1)])
QUICK = tuple(each for each in PROPERTIES if each[0] == "answer_has_its_shape")


def few_attempts(isolation: IsolationTier) -> list[Planned]:
    """Enough to show that it is the real suite; all of it is tried by the suite's own tests."""
    return list(plan_attempts(isolation))[::40]


class TriedBefore:
    """Says what the suite has said."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None, **changes: object) -> None:
        self._meanwhile = meanwhile
        self._changes = changes

    def __call__(self, backend: str, isolation: IsolationTier, step: Step) -> Any:
        del step
        self._meanwhile()
        return make_escape_report(backend=backend, isolation=isolation, **self._changes)


@dataclass(frozen=True)
class Released:
    home: Home
    source: Path
    root: RootDirectory
    docker_host: str

    @property
    def store(self) -> ReleaseStore:
        return ReleaseStore(self.home.root)

    def trial(self, escape: EscapeSuite, **changes: Any) -> Trial:
        trial = Trial(
            home=self.home,
            source_root=self.source,
            docker_host=self.docker_host,
            backends=(BACKEND,),
            tiers=TIERS,
            model=("smollm2-135m-instruct", "q4_1"),
            workload=WORKLOAD,
            escape=escape,
        )
        return replace(trial, **changes)

    def order(self, version: str, trial: Trial) -> ReleaseOrder:
        return ReleaseOrder(
            version=version,
            trial=trial,
            root=self.root,
            ask=lambda: PASSPHRASE,
            host=read_host_facts(),
            now=lambda: datetime.now(UTC),
        )

    def refused(self, version: str, trial: Trial) -> EngineError:
        """A release that must not come about, and must leave nothing behind."""
        before = self.listing()
        with pytest.raises(EngineError) as caught:
            create_release(self.order(version, trial), SilentProgress())
        assert self.listing() == before
        return caught.value

    def listing(self) -> list[str]:
        kept = (self.home.root / name for name in ("releases", "keys", "root", "escape"))
        paths = [path for place in kept for path in place.rglob("*")] + list(self.home.root.iterdir())
        return sorted(str(path) for path in paths if path.name != "lock")

    def weos(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """The command line of this source."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "supervisor", *arguments],
            env={**os.environ, "WEOS_HOME": str(self.home.root), "PYTHONPATH": str(self.source), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, weos_home: Path, docker_host: str) -> Released:
    """The first version, tried for real."""
    place = tmp_path_factory.mktemp("release")
    home = Home(place / "home")
    home.root.mkdir(mode=0o700)
    # What the tests change is a copy; the models are only read.
    shutil.copytree(weos_home / "images", home.root / "images")
    (home.root / "models").symlink_to(weos_home / "models")
    source = copy_source(place / "source", FIRST)
    git(place, "init", "--quiet", str(source))
    commit(source)
    root = RootDirectory(place / "root")
    root.create(PASSPHRASE, datetime.now(UTC))
    made = Released(home, source, root, docker_host)
    candidate = read_candidate(home, source, FIRST)
    escape = InstalledEscapeSuite(home, docker_host, candidate, few_attempts)
    create_release(made.order(FIRST, made.trial(escape)), SilentProgress())
    return made


def test_a_release_leaves_reports_that_its_manifest_names(released: Released) -> None:
    release = released.store.manifest(FIRST)
    validation = verify_validation(released.store.read(FIRST, "validation.json") or b"", release).document
    comparison = verify_comparison(released.store.read(FIRST, "comparison.json") or b"", release).document
    assert validation is not None
    assert {each.name for each in validation.conformance} == {name for name, _ in PROPERTIES}
    assert [(each.backend, each.isolation) for each in validation.escape] == [(BACKEND, "hardened")]
    assert validation.escape[0].attempts > 5
    assert [each.isolation for each in validation.untried] == ["gvisor"]
    assert validation.candidate.executed_as == development_version(released.source)
    assert comparison is not None
    assert comparison.predecessor is None
    (case,) = comparison.cases
    assert len(case.executions) == WORKLOAD.repeats
    assert case.median.tokens_per_sec is not None
    for each in case.executions:
        assert released.store.read(FIRST, f"records/{each.execution_id}.json")
    assert released.store.read(FIRST, f"escape-{BACKEND}-hardened.json")
    assert release.manifest.predecessor is None
    assert release.manifest.source.commit == git(released.source, "rev-parse", "HEAD")


def test_a_release_leaves_nothing_else(released: Released) -> None:
    names = {path.name for path in released.home.root.iterdir()}
    assert names <= {"images", "models", "keys", "releases", "root", "escape", "instance", "images.lock", "run"} | {
        *("token", "trust.json", "ledger", "checkpoint", "log")
    }
    signer = read_signer(key_path(released.home.keys, FIRST), engine_passphrase(released.home.keys))
    assert signer.public_key == released.store.manifest(FIRST).manifest.public_key


async def test_a_supervisor_of_the_same_content_runs_as_that_version(released: Released) -> None:
    release = released.store.manifest(FIRST)
    async with serving(released.home, released.docker_host, pool=True) as api:
        version = await api.get("/v1/version")
        assert (version["engine_version"], version["manifest"]) == (FIRST, release.digest)
        status, view = await api.post_run(spec_request() | {"engine_version": FIRST})
        assert (status, view["engine_version"]) == (200, FIRST)
        record = await api.get_bytes(view["record"])
    trust = Trust(schema_version="weos.trust/1", keys=(), root=released.root.keyring())
    report = verify_released_record(record, trust, released.store.evidence(FIRST))
    assert report.verdict == "VALID"
    assert report.record is not None
    assert report.record.manifest == release.digest
    file = released.home.root / "record.json"
    file.write_bytes(record)
    verified = await asyncio.to_thread(released.weos, "audit", "record", str(file))
    auditor = ("audit", "record", str(file), "--trust", str(released.home.root.parent / "root" / "trust.json"))
    named = released.home.root / "releases" / FIRST / "manifest.json"
    by_hand = await asyncio.to_thread(released.weos, *auditor, "--manifest", str(named))
    forged = await asyncio.to_thread(released.weos, *auditor, "--manifest", str(file))
    file.unlink()
    assert by_hand.stdout.splitlines()[-1] == "VALID", by_hand.stdout
    assert (forged.returncode, forged.stdout.splitlines()[-1]) == (1, "UNTRUSTED_MANIFEST")
    assert verified.stdout.splitlines()[-1] == "VALID", verified.stdout
    assert "engine manifest" in verified.stdout


def test_a_drifted_installation_is_refused_by_name(released: Released) -> None:
    released.store.select(FIRST)
    record = released.home.root / "images" / f"{BACKEND}.json"
    image = json.loads(record.read_text())
    changes: dict[Path, str] = {
        released.source / "policies" / "scheduling.toml": "\n# looser\n",
        released.source / "supervisor" / "execution" / "service.py": "\n# patched\n",
    }
    try:
        for path, added in changes.items():
            path.write_text(path.read_text() + added)
            ran = released.weos("serve", "--port", "0")
            git(released.source, "checkout", "--quiet", "--", ".")
            assert ran.returncode == 1
            name = path.relative_to(released.source).as_posix()
            assert f"{name}: expected sha256:" in ran.stderr, ran.stderr
            assert ran.stderr.startswith("version_drifted: ")
        record.write_text(json.dumps(image | {"image_id": "sha256:" + "0" * 64}))
        ran = released.weos("serve", "--port", "0")
        assert f"runtime image {BACKEND}: expected {image['image_id']}, found sha256:0000" in ran.stderr
    finally:
        record.write_text(json.dumps(image))
        released.store.select(None)


def test_what_is_not_committed_is_not_released(released: Released) -> None:
    set_version(released.source, NEXT)
    error = released.refused(NEXT, released.trial(TriedBefore()))
    git(released.source, "checkout", "--quiet", "--", ".")
    assert error.code == "tree_unclean"
    assert "pyproject.toml (changed)" in error.detail


def test_only_the_version_that_the_source_says_it_is_is_released(released: Released) -> None:
    assert released.refused(NEXT, released.trial(TriedBefore())).code == "version_mismatch"
    assert released.refused(FIRST, released.trial(TriedBefore())).code == "release_exists"
    ran = released.weos("release", "create", NEXT, "--root-dir", str(released.home.root.parent / "root"))
    assert ran.stderr.startswith("version_mismatch: "), ran.stderr


def breaks(subject: Subject) -> str:
    subject.execute("a")
    raise Broken("it does not hold")


@pytest.fixture(scope="module")
def next_source(released: Released) -> Released:
    """The same content that says it is the next version."""
    set_version(released.source, NEXT)
    commit(released.source)
    return released


def test_a_version_that_does_not_hold_is_not_released(next_source: Released) -> None:
    broken = next_source.trial(TriedBefore(), properties=(*QUICK, ("breaks", breaks)))
    error = next_source.refused(NEXT, broken)
    assert (error.code, "breaks" in error.detail) == ("validation_failed", True)
    attempt = make_escape_report().attempts[0].model_copy(update={"verdict": "allowed", "observed": "allowed"})
    escaped = next_source.trial(TriedBefore(attempts=(attempt,)), properties=QUICK, workload=Workload(CASES, 1))
    error = next_source.refused(NEXT, escaped)
    assert (error.code, "1 of 1 attacks" in error.detail) == ("validation_failed", True)
    absent = next_source.trial(TriedBefore(), model=("nobody", "q4_1"))
    assert next_source.refused(NEXT, absent).code == "model_missing"
    unbuilt = next_source.trial(TriedBefore(), backends=("cpu_x86_64", "no_such"))
    assert next_source.refused(NEXT, unbuilt).code == "image_missing"


def test_what_changes_while_it_is_tried_is_not_released(next_source: Released) -> None:
    record = next_source.home.root / "images" / f"{BACKEND}.json"
    before = record.read_text()
    other = json.dumps(json.loads(before) | {"image_id": "sha256:" + "0" * 64})
    changing = TriedBefore(lambda: record.write_text(other))
    trial = next_source.trial(changing, properties=QUICK, workload=Workload(CASES, 1))
    error = next_source.refused(NEXT, trial)
    record.write_text(before)
    assert error.code == "version_drifted"


def test_a_release_that_cannot_be_kept_leaves_no_key(next_source: Released) -> None:
    taken = next_source.home.root / "releases" / NEXT
    # Somebody else's, which came in between.
    occupying = TriedBefore(lambda: (taken / "something").mkdir(parents=True))
    trial = next_source.trial(occupying, properties=QUICK, workload=Workload(CASES, 1))
    with pytest.raises(OSError, match="not empty"):
        create_release(next_source.order(NEXT, trial), SilentProgress())
    shutil.rmtree(taken)
    assert not key_path(next_source.home.keys, NEXT).exists()
    assert [path.name for path in taken.parent.iterdir()] == [FIRST]


def test_a_version_is_not_tried_where_it_could_not_be_released(next_source: Released) -> None:
    key = key_path(next_source.home.keys, NEXT)
    key.write_bytes(b"somebody's")
    assert next_source.refused(NEXT, next_source.trial(TriedBefore())).code == "key_exists"
    key.unlink()
    report = next_source.home.root / "releases" / FIRST / "comparison.json"
    genuine = report.read_bytes()
    report.write_bytes((report.parent / "validation.json").read_bytes())
    error = next_source.refused(NEXT, next_source.trial(TriedBefore()))
    report.write_bytes(genuine)
    assert (error.code, "SCHEMA_VIOLATION" in error.detail) == ("release_unsound", True)
    wrong = replace(next_source.order(NEXT, next_source.trial(TriedBefore())), ask=lambda: b"another")
    with pytest.raises(EngineError) as caught:
        create_release(wrong, SilentProgress())
    assert caught.value.code == "passphrase_wrong"


def test_the_next_version_is_compared_with_the_one_before_and_can_be_revoked(next_source: Released) -> None:
    order = next_source.order(NEXT, next_source.trial(TriedBefore(), properties=QUICK))
    release = create_release(order, SilentProgress())
    before = next_source.store.manifest(FIRST)
    assert release.manifest.predecessor is not None
    assert release.manifest.predecessor.manifest == before.digest
    assert release.manifest.public_key != before.manifest.public_key
    comparison = verify_comparison(next_source.store.read(NEXT, "comparison.json") or b"", release).document
    assert comparison is not None
    assert comparison.predecessor is not None
    assert comparison.predecessor.incomparable == ()
    (case,) = comparison.predecessor.cases
    assert case.same_output
    assert case.tokens_per_sec_ratio is not None
    shown = next_source.weos("release", "show", NEXT)
    assert "is this version" in shown.stdout, shown.stderr
    assert "ratio" in shown.stdout
    passphrase = next_source.home.root.parent / "passphrase"
    passphrase.write_bytes(PASSPHRASE)
    passphrase.chmod(0o600)
    revoked = next_source.weos(
        *("release", "revoke", NEXT, "--root-dir", str(next_source.home.root.parent / "root")),
        *("--passphrase-file", str(passphrase), "--reason", "a test of it", "--from-index", "2"),
    )
    assert revoked.returncode == 0, revoked.stderr
    next_source.store.select(NEXT)
    refused = next_source.weos("serve", "--port", "0")
    next_source.store.select(None)
    assert refused.stderr.startswith("version_revoked: "), refused.stderr
