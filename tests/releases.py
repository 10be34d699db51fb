"""Genuine release documents for tests: root keys, keyrings, manifests, reports, as the product makes them."""

from typing import Any

from contracts.execution.execution_plan import ExecutionPlan
from contracts.releases.manifest import (
    EngineManifest,
    LlamaCpp,
    ManifestImage,
    ManifestSource,
    Revocation,
    RootKey,
    RootKeyring,
    SourceFile,
    digest_of_source,
)
from contracts.releases.reports import (
    Candidate,
    CaseFigures,
    ComparedModel,
    ComparisonReport,
    ConformanceResult,
    EscapeResult,
    ExecutionFigures,
    Figures,
    HostDescription,
    ValidationReport,
)
from contracts.releases.statements import (
    state_comparison,
    state_keyring,
    state_manifest,
    state_revocation,
    state_validation,
)
from contracts.verify.release import SignedManifest
from contracts.wire.document import sha256_digest
from contracts.wire.envelope import Envelope, decode_base64, seal
from supervisor.adapters.identity.keys import FileSigner
from tests.factories import EXECUTION_ID, make_plan, make_signer

__all__ = [
    "ROOT",
    "VERSION",
    "VERSION_KEY",
    "WHEN",
    "make_comparison",
    "make_keyring",
    "make_manifest",
    "make_release",
    "make_revocation",
    "make_validation",
    "root_key",
    "sealed_comparison",
    "sealed_keyring",
    "sealed_manifest",
    "sealed_revocation",
    "sealed_validation",
]

VERSION = "0.1.0"
WHEN = "2026-01-30T00:00:00.000Z"
ROOT = make_signer()
VERSION_KEY = make_signer()
FILES = (
    SourceFile(path="contracts/wire/document.py", sha256=sha256_digest(b"one")),
    SourceFile(path="policies/power.toml", sha256=sha256_digest(b"two")),
)
SOURCE = digest_of_source(FILES)
FIGURES: dict[str, Any] = {
    "tokens_per_sec": 40.0,
    "latency_p95_ms": 30.5,
    "watts_avg": 8.0,
    "tokens_per_watt": 5.0,
}
HOST = HostDescription(processor="Test", logical_cpus=2, memory_bytes=2**33)
MODEL = ComparedModel(name="smollm2-135m-instruct", quantization="q4_1", sha256=sha256_digest(b"model"))


def root_key(signer: FileSigner, valid_from: str = WHEN, valid_until: str | None = None) -> RootKey:
    return RootKey(public_key=signer.public_key, valid_from=valid_from, valid_until=valid_until)


def make_keyring(*keys: RootKey, **changes: Any) -> RootKeyring:
    keyring = RootKeyring(
        schema_version="weos.root-keyring/1",
        version=1,
        threshold=1,
        keys=keys or (root_key(ROOT),),
        valid_from=WHEN,
    )
    return keyring.model_copy(update=changes)


def sealed_keyring(keyring: RootKeyring, *signers: FileSigner) -> bytes:
    return seal(state_keyring(keyring).encode(), *(signers or (ROOT,)))


def make_candidate(version: str = VERSION) -> Candidate:
    return Candidate(
        engine_version=version,
        source=SOURCE,
        executed_as=f"{version}+dev.0123456789ab",
        public_key=VERSION_KEY.public_key,
        host=HOST,
    )


def make_validation(version: str = VERSION, **changes: Any) -> ValidationReport:
    report = ValidationReport(
        schema_version="weos.validation-report/1",
        candidate=make_candidate(version),
        model=MODEL,
        conformance=(
            ConformanceResult(
                name="greedy_repeats", backend="cpu_avx2", isolation="hardened", holds=True, observed="3 equal outputs"
            ),
        ),
        escape=(
            EscapeResult(
                backend="cpu_avx2",
                isolation="hardened",
                report=sha256_digest(b"escape"),
                attempts=200,
                as_expected=200,
            ),
        ),
        untried=(),
        created_at=WHEN,
    )
    return report.model_copy(update=changes)


def make_figures(**changes: Any) -> ExecutionFigures:
    return ExecutionFigures(
        **FIGURES,
        execution_id=EXECUTION_ID,
        record=sha256_digest(b"record"),
        output=sha256_digest(b"output"),
        tokens_total=32,
        watts_source="model",
    ).model_copy(update=changes)


def make_comparison(version: str = VERSION, **changes: Any) -> ComparisonReport:
    report = ComparisonReport(
        schema_version="weos.comparison-report/1",
        candidate=make_candidate(version),
        model=MODEL,
        workload=sha256_digest(b"workload"),
        cases=(
            CaseFigures(
                case="short_answer", backend="cpu_avx2", executions=(make_figures(),), median=Figures(**FIGURES)
            ),
        ),
        predecessor=None,
        predecessor_reason="this is the first version",
        created_at=WHEN,
    )
    return report.model_copy(update=changes)


def payload_digest(envelope: bytes) -> str:
    return sha256_digest(decode_base64(Envelope.parse(envelope).payload))


def sealed_validation(report: ValidationReport | None = None, signer: FileSigner = VERSION_KEY) -> bytes:
    return seal(state_validation(report or make_validation()).encode(), signer)


def sealed_comparison(report: ComparisonReport | None = None, signer: FileSigner = VERSION_KEY) -> bytes:
    return seal(state_comparison(report or make_comparison()).encode(), signer)


def make_manifest(plan: ExecutionPlan | None = None, **changes: Any) -> EngineManifest:
    """A manifest of the version that made the plan of the tests."""
    plan = plan or make_plan()
    manifest = EngineManifest(
        schema_version="weos.engine-manifest/1",
        engine_version=VERSION,
        source=ManifestSource(digest=SOURCE, files=FILES, commit="a" * 40),
        images=(
            ManifestImage(
                backend=plan.backend,
                image=plan.runtime_image,
                manifest=sha256_digest(b"files"),
                inputs=sha256_digest(b"inputs"),
            ),
        ),
        policies=dict(plan.policies),
        schemas={"schemas/trust.json": sha256_digest(b"schema")},
        llama_cpp=LlamaCpp(
            package="llama-cpp-python",
            version="0.3.36",
            archive=sha256_digest(b"archive"),
            commit=None,
            commit_reason="the source archive does not name it",
        ),
        public_key=VERSION_KEY.public_key,
        predecessor=None,
        validation=payload_digest(sealed_validation()),
        comparison=payload_digest(sealed_comparison()),
        created_at=WHEN,
    )
    return manifest.model_copy(update=changes)


def sealed_manifest(manifest: EngineManifest | None = None, *signers: FileSigner) -> bytes:
    return seal(state_manifest(manifest or make_manifest()).encode(), *(signers or (ROOT,)))


def make_release(manifest: EngineManifest | None = None) -> SignedManifest:
    chosen = manifest or make_manifest()
    return SignedManifest(chosen, sha256_digest(state_manifest(chosen).encode()))


def make_revocation(**changes: Any) -> Revocation:
    revocation = Revocation(
        schema_version="weos.revocation/1",
        engine_version=VERSION,
        manifest=make_release().digest,
        reason="the key was seen on a public page",
        from_index=7,
        revoked_at=WHEN,
    )
    return revocation.model_copy(update=changes)


def sealed_revocation(revocation: Revocation | None = None, *signers: FileSigner) -> bytes:
    return seal(state_revocation(revocation or make_revocation()).encode(), *(signers or (ROOT,)))
