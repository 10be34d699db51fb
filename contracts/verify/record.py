"""Verify one signed record offline: numbered checks with stable codes.

1. size          2. envelope      3. payload type    4. encoding          5. signature count    6. signature
7. record        8. key's version 9. identity        10. metrics recomputed

A VALID verdict does not say that the statement is true: a signature proves only who made it. It does not say that no
other record was left out, or that an output belongs to the record. Compare the output with ``output_matches``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.execution.determinism import classify_determinism
from contracts.execution.metrics import derive_metrics
from contracts.execution.metrics_record import MetricsRecord, Statement
from contracts.verify.checks import (
    Check,
    CheckFailed,
    Checks,
    Verified,
    code_of,
    open_envelope,
    read_payload,
    verdict_of,
)
from contracts.verify.record_evidence import check_measurements, check_outcome, check_times
from contracts.verify.record_power import check_power_evidence
from contracts.verify.record_sandbox import check_sandbox
from contracts.verify.trust import Trust
from contracts.wire.document import sha256_digest
from contracts.wire.envelope import signature_holds
from contracts.wire.errors import ContractError
from contracts.wire.keys import load_public_key

__all__ = [
    "CHECKS",
    "SIGNED_CHECKS",
    "Check",
    "VerificationReport",
    "open_signed",
    "output_matches",
    "require_key_version",
    "verify_record",
]

SIGNED_CHECKS = ("size", "envelope", "payload type", "encoding", "signature count", "signature")
"""The checks of ``open_signed``."""
CHECKS = (*SIGNED_CHECKS, "record", "key version", "identity", "metrics")
"""The checks of a record, for a display that lists the ones that were not reached."""


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """All checks that were made, in order; if a check failed, it is the last one."""

    checks: tuple[Check, ...]
    record: MetricsRecord | None
    """The record, where it could be read, even if a later check failed."""

    @property
    def verdict(self) -> str:
        """``VALID``, or the code of the check that failed."""
        return verdict_of(self.checks)

    @property
    def verified(self) -> Verified[MetricsRecord]:
        """The same checks, with the record only where all of them hold."""
        return Verified(self.checks, self.record if self.verdict == "VALID" else None)


def _signing_versions(trust: Trust, signature: bytes, payload: bytes) -> tuple[str, ...]:
    try:
        keys = [(entry.engine_version, load_public_key(entry.public_key)) for entry in trust.keys]
    except ContractError as error:
        raise CheckFailed(code_of(error), f"a key in the trust file is refused: {error}") from error
    return tuple(version for version, key in keys if signature_holds(key, signature, payload))


def _check_identity(statement: Statement) -> None:
    record = statement.predicate
    if record.plan.canonical_digest() != record.plan_digest:
        raise CheckFailed("ID_MISMATCH", "plan_digest is not the digest of the record's plan")
    # If a version leaves an execution unfinished, the next version records it as aborted.
    if record.plan.engine_version != record.engine_version and record.outcome != "aborted":
        raise CheckFailed("ID_MISMATCH", "the plan and the record name different engine versions")
    observed = (record.measurements, record.power, record.sandbox, record.output)
    if record.plan.engine_version != record.engine_version and observed != (None, None, None, None):
        raise CheckFailed(
            "ID_MISMATCH",
            "nothing was observed of what another version left unfinished",
        )
    features = None if record.sandbox is None else record.sandbox.cpu_features
    if record.determinism != classify_determinism(record.plan, features):
        raise CheckFailed("ID_MISMATCH", "the determinism class does not follow from the plan and the sandbox")
    expected = {"plan": record.plan_digest}
    if record.output is not None:
        expected["output"] = record.output.sha256
    stated = {subject.name: "sha256:" + subject.digest.get("sha256", "") for subject in statement.subject}
    if stated != expected or len(statement.subject) != len(expected):
        raise CheckFailed("ID_MISMATCH", "the statement's subjects are not the plan and output of its record")
    check_sandbox(record)
    check_times(record)


def _check_metrics(record: MetricsRecord) -> None:
    check_outcome(record)
    if record.metrics is None:
        # A completed execution has both: it had a sandbox, whose measurements and power evidence give the metrics.
        if record.measurements is not None and record.power is not None:
            raise CheckFailed("METRIC_INCONSISTENT", "the record has raw integers, but no metrics")
        return
    if record.measurements is None or record.power is None:
        raise CheckFailed("METRIC_INCONSISTENT", "the record has metrics, but no raw integers")
    check_measurements(record, record.measurements)
    check_power_evidence(record, record.power, record.measurements)
    recomputed = derive_metrics(record.measurements, record.power)
    if recomputed != record.metrics:
        names = [
            name for name in type(recomputed).model_fields if getattr(recomputed, name) != getattr(record.metrics, name)
        ]
        raise CheckFailed("METRIC_INCONSISTENT", f"recomputed from the raw integers, these differ: {', '.join(names)}")


def open_signed(checks: Checks, data: bytes, trust: Trust) -> tuple[bytes, tuple[str, ...]]:
    """Make the ``SIGNED_CHECKS``; return the payload and the versions whose key signed it."""
    signatures, payload = open_envelope(checks, data)
    checks.begin("signature count")
    if len(signatures) != 1:
        raise CheckFailed("SIGNATURE_COUNT", f"{len(signatures)} signatures; exactly one is expected")
    checks.hold("exactly one")
    checks.begin("signature")
    versions = _signing_versions(trust, signatures[0], payload)
    if not versions:
        raise CheckFailed("BAD_SIGNATURE", f"none of the {len(trust.keys)} trusted keys has signed these bytes")
    checks.hold(f"Ed25519, by the key of {', '.join(versions)}")
    return payload, versions


def require_key_version(what: str, engine_version: str, versions: Sequence[str]) -> str:
    """Require that a statement is signed by the key of the version that it names; return the version.

    Raises:
        CheckFailed: ``KEY_VERSION_MISMATCH``.
    """
    if engine_version not in versions:
        detail = f"the {what} names engine version {engine_version}; its key belongs to {', '.join(versions)}"
        raise CheckFailed("KEY_VERSION_MISMATCH", detail)
    return engine_version


def verify_record(data: bytes, trust: Trust) -> VerificationReport:
    """Verify the bytes of one stored envelope against keys that the caller trusts.

    Args:
        data: the envelope, as `GET /v1/runs/{id}/record` returns it.
        trust: keys by engine version. The caller gets them from another source than the record.

    Returns:
        A report; it never raises for a bad record.
    """
    # The report names the record even where a later check fails.
    record: MetricsRecord | None = None
    with Checks() as checks:
        payload, versions = open_signed(checks, data, trust)
        checks.begin("record")
        statement = read_payload(Statement, payload)
        record = statement.predicate
        checks.hold(f"{statement.predicateType}, in RFC 8785 form")
        checks.begin("key version")
        checks.hold(require_key_version("record", record.engine_version, versions))
        checks.begin("identity")
        _check_identity(statement)
        checks.hold(f"{record.execution_id}; plan and output digests agree")
        checks.begin("metrics")
        _check_metrics(record)
        checks.hold("recomputed from the raw integers; all equal" if record.metrics else "no metrics to recompute")
    return VerificationReport(checks.made, record)


def output_matches(record: MetricsRecord, output: bytes) -> bool:
    """Return whether a text is the output that the record names."""
    return record.output is not None and sha256_digest(output) == record.output.sha256
