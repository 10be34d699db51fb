"""Creates a new engine version, completely or not at all: checks, trial, key, reports, manifest."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from contracts.execution.escape_report import EscapeReport
from contracts.releases.reports import Candidate, ComparisonReport, EscapeResult, HostDescription, ValidationReport
from contracts.releases.statements import ReleaseStatement, state_comparison, state_manifest, state_validation
from contracts.verify.checks import Verified
from contracts.verify.release import SignedManifest, verify_comparison, verify_manifest, verify_validation
from contracts.wire.document import sha256_digest
from contracts.wire.envelope import seal
from supervisor.adapters.files import write_private
from supervisor.adapters.identity.content import read_content
from supervisor.adapters.identity.engine_version import development_version, release_version
from supervisor.adapters.identity.keys import FileSigner, engine_passphrase, key_path, make_signer
from supervisor.adapters.identity.release_store import ReleaseStore
from supervisor.adapters.installation.escape_reports import EscapeReports
from supervisor.adapters.policies import load_policies
from supervisor.console.steps import Progress
from supervisor.domain.errors import EngineError
from supervisor.domain.planning.installation import HostFacts
from supervisor.domain.records.recording import format_time
from supervisor.domain.records.version_comparison import compare_with_predecessor
from supervisor.domain.records.versions import Content, build_manifest, choose_images, find_predecessor
from supervisor.release.root_directory import AskPassphrase, RootDirectory
from supervisor.release.source_tree import require_committed, require_generated
from supervisor.release.trial import Trial, TrialResult, run_trial

__all__ = ["ReleaseOrder", "create_release"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ReleaseOrder:
    """The version to release, its trial, and the root that signs it."""

    version: str
    trial: Trial
    root: RootDirectory
    ask: AskPassphrase
    """Returns the passphrase of the root's key."""
    host: HostFacts
    now: Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class _Prepared:
    content: Content
    commit: str
    root_signer: FileSigner
    predecessor: SignedManifest | None
    before: ComparisonReport | None


@dataclass(frozen=True, slots=True)
class _Release:
    """Everything that a release stores."""

    signed: SignedManifest
    key: FileSigner
    files: dict[str, bytes]


def create_release(order: ReleaseOrder, progress: Progress) -> SignedManifest:
    """Try the installation and release it as a version.

    Raises:
        EngineError: ``version_mismatch``, ``tree_unclean``, ``release_exists``, ``key_exists``, ``image_missing``,
            ``validation_failed``, ``version_drifted``, any error of opening the root, or a part of the trial that could
            not be run. In every case nothing is stored.
    """
    prepared = _prepare(order)
    result = run_trial(order.trial, progress)
    release = _build(order, prepared, result)
    if _read_content(order) != prepared.content:
        raise EngineError("version_drifted", "the installation changed during its trial; nothing was released")
    _keep(order, release)
    for report in result.escape:
        # Records of the new version can then name the report.
        EscapeReports(order.trial.home.escape).store(report)
    return release.signed


def _read_content(order: ReleaseOrder) -> Content:
    root = order.trial.source_root
    return read_content(order.trial.home.root, root, load_policies(root / "policies").digests)


def _key_file(order: ReleaseOrder) -> Path:
    return key_path(order.trial.home.keys, order.version)


def _prepare(order: ReleaseOrder) -> _Prepared:
    root, store = order.trial.source_root, ReleaseStore(order.trial.home.root)
    found = release_version(root)
    if found != order.version:
        detail = f"the source has version {found} (pyproject.toml), so {order.version} cannot be released from it"
        raise EngineError("version_mismatch", detail)
    order.root.keyring()
    store.require_root(order.root.keyrings())
    predecessor = find_predecessor([store.manifest(each) for each in store.versions()], order.version)
    if _key_file(order).exists():
        detail = f"{_key_file(order)} exists, but {order.version} is not released; move that key away first"
        raise EngineError("key_exists", detail)
    commit = require_committed(root)
    require_generated(root)
    content = _read_content(order)
    choose_images(content, order.trial.backends)
    return _Prepared(
        content=content,
        commit=commit,
        root_signer=order.root.signer(order.ask),
        predecessor=predecessor,
        before=None if predecessor is None else _read_comparison(store, predecessor),
    )


def _read_comparison(store: ReleaseStore, predecessor: SignedManifest) -> ComparisonReport:
    version = predecessor.manifest.engine_version
    data = store.read(version, "comparison.json")
    verified = verify_comparison(data or b"", predecessor)
    if verified.document is None:
        detail = f"the comparison report of {version} does not match its manifest: {verified.verdict}"
        raise EngineError("release_unsound", detail)
    return verified.document


def _build(order: ReleaseOrder, prepared: _Prepared, result: TrialResult) -> _Release:
    at = format_time(order.now())
    host = HostDescription(
        processor=order.host.processor,
        logical_cpus=len(order.host.logical_cpus),
        memory_bytes=order.host.memory_bytes,
    )
    candidate = Candidate(
        engine_version=order.version,
        source=prepared.content.source_digest,
        executed_as=_require_ran(order, result),
        public_key=result.version.public_key,
        host=host,
    )
    validation = ValidationReport(
        schema_version="weos.validation-report/1",
        candidate=candidate,
        model=result.model,
        conformance=tuple(result.conformance),
        escape=tuple(_summarise(report) for report in result.escape),
        untried=tuple(result.untried),
        created_at=at,
    )
    if validation.failures:
        raise EngineError("validation_failed", f"nothing was released: {'; '.join(validation.failures)}")
    comparison = _compare(order, prepared, result, candidate, at)
    return _sign(order, prepared, result, validation, comparison)


def _require_ran(order: ReleaseOrder, result: TrialResult) -> str:
    # The trial must have run exactly this source.
    expected = development_version(order.trial.source_root)
    if result.version.engine_version != expected:
        detail = f"the trial ran version {result.version.engine_version}, but the source has version {expected}"
        raise EngineError("version_drifted", detail)
    return expected


def _summarise(report: EscapeReport) -> EscapeResult:
    return EscapeResult(
        backend=report.backend,
        isolation=report.isolation,
        report=report.canonical_digest(),
        attempts=len(report.attempts),
        as_expected=len(report.attempts) - len(report.failures),
    )


def _compare(
    order: ReleaseOrder, prepared: _Prepared, result: TrialResult, candidate: Candidate, at: str
) -> ComparisonReport:
    predecessor = None
    if prepared.before is not None and prepared.predecessor is not None:
        predecessor = compare_with_predecessor(
            result.cases,
            host=candidate.host,
            model=result.model,
            workload=order.trial.workload.digest,
            before=prepared.before,
            digest=prepared.predecessor.manifest.comparison,
        )
    return ComparisonReport(
        schema_version="weos.comparison-report/1",
        candidate=candidate,
        model=result.model,
        workload=order.trial.workload.digest,
        cases=tuple(result.cases),
        predecessor=predecessor,
        predecessor_reason="this is the first version" if predecessor is None else None,
        created_at=at,
    )


def _sign(
    order: ReleaseOrder,
    prepared: _Prepared,
    result: TrialResult,
    validation: ValidationReport,
    comparison: ComparisonReport,
) -> _Release:
    key = make_signer()
    stated: tuple[ReleaseStatement, ...] = (state_validation(validation), state_comparison(comparison))
    validated, compared = (each.encode() for each in stated)
    manifest = build_manifest(
        prepared.content,
        commit=prepared.commit,
        backends=order.trial.backends,
        public_key=key.public_key,
        predecessor=prepared.predecessor,
        validation=sha256_digest(validated),
        comparison=sha256_digest(compared),
        created_at=validation.created_at,
    )
    sealed = seal(state_manifest(manifest).encode(), prepared.root_signer)
    files = {"manifest.json": sealed, "validation.json": seal(validated, key), "comparison.json": seal(compared, key)}
    # The release is verified before it is published, as an auditor will verify it.
    signed = _require_valid(verify_manifest(sealed, order.root.keyring()))
    _require_valid(verify_validation(files["validation.json"], signed))
    _require_valid(verify_comparison(files["comparison.json"], signed))
    reports = {f"escape-{each.backend}-{each.isolation}.json": each.canonical() for each in result.escape}
    return _Release(signed, key, result.files | reports | files)


def _require_valid(verified: Verified[_T]) -> _T:
    if verified.document is None:
        failed = verified.checks[-1]
        raise EngineError("release_unsound", f"{failed.name}: {failed.code}: {failed.message}")
    return verified.document


def _keep(order: ReleaseOrder, release: _Release) -> None:
    store, keys = ReleaseStore(order.trial.home.root), order.trial.home.keys
    store.add_keyrings(order.root.keyrings())
    key_file = _key_file(order)
    try:
        with store.staged(order.version) as directory:
            for name, data in release.files.items():
                path = directory / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)
            write_private(key_file, release.key.encrypted(engine_passphrase(keys)))
    except BaseException:
        key_file.unlink(missing_ok=True)
        raise
