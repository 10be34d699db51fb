"""Verify one signed record offline: numbered checks, stable codes, and what the caller still has to do.

1. size          2. envelope      3. payload type    4. signature count   5. encoding     6. signature
7. record        8. key's version 9. identity        10. metrics recomputed

What a VALID verdict does not say: that the statement is true (a signature proves who said it), that no other record
was left out, or that the output at hand is the one meant. Compare the output's SHA-256 with the record's yourself, or
pass it in.
"""

from dataclasses import dataclass

from contracts.base import ContractError, canonical_bytes, decode_json, sha256_digest
from contracts.envelope import PAYLOAD_TYPE, Envelope, decode_base64, signature_holds
from contracts.metrics import derive_metrics
from contracts.metrics_record import MetricsRecord, Statement
from contracts.trust import Trust, load_public_key

__all__ = ["CHECKS", "Check", "VerificationReport", "output_matches", "verify_record"]

CHECKS = (
    "size",
    "envelope",
    "payload type",
    "signature count",
    "encoding",
    "signature",
    "record",
    "key version",
    "identity",
    "metrics",
)
_PARSE_CODES = {
    "too_large": "TOO_LARGE",
    "malformed_json": "MALFORMED",
    "out_of_range": "OUT_OF_RANGE",
    "schema_violation": "SCHEMA_VIOLATION",
    "weak_key": "WEAK_KEY",
}


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check: ``code`` is ``OK`` or the stable code of what is wrong."""

    name: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """All checks that were made, in order; the last one is the first that failed, if any."""

    checks: tuple[Check, ...]
    record: MetricsRecord | None

    @property
    def verdict(self) -> str:
        """``VALID``, or the code of the check that failed."""
        failed = [check.code for check in self.checks if check.code != "OK"]
        return failed[0] if failed else "VALID"


class _Failed(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _read_envelope(data: bytes) -> Envelope:
    try:
        return Envelope.parse(data)
    except ContractError as error:
        raise _Failed(_PARSE_CODES[error.code], str(error)) from error


def _decode(text: str, what: str) -> bytes:
    try:
        return decode_base64(text)
    except ContractError as error:
        raise _Failed("MALFORMED", f"the {what} is not canonical base64") from error


def _signing_versions(trust: Trust, signature: bytes, payload: bytes) -> list[str]:
    try:
        keys = [(entry.engine_version, load_public_key(entry.public_key)) for entry in trust.keys]
    except ContractError as error:
        raise _Failed(_PARSE_CODES[error.code], f"a key of the trust file is refused: {error}") from error
    return [version for version, key in keys if signature_holds(key, signature, payload)]


def _read_statement(payload: bytes) -> Statement:
    try:
        statement = Statement.parse(payload)
    except ContractError as error:
        raise _Failed(_PARSE_CODES[error.code], str(error)) from error
    if canonical_bytes(decode_json(payload, max_bytes=Statement.MAX_BYTES)) != payload:
        raise _Failed("MALFORMED", "the payload is not in RFC 8785 form")
    return statement


def _check_identity(statement: Statement) -> None:
    record = statement.predicate
    if record.plan.canonical_digest() != record.plan_digest:
        raise _Failed("ID_MISMATCH", "plan_digest is not the digest of the plan in the record")
    # An execution that one version left behind is recorded as aborted by the next.
    if record.plan.engine_version != record.engine_version and record.outcome != "aborted":
        raise _Failed("ID_MISMATCH", "plan and record name different engine versions")
    expected = {"plan": record.plan_digest}
    if record.output is not None:
        expected["output"] = record.output.sha256
    stated = {subject.name: "sha256:" + subject.digest.get("sha256", "") for subject in statement.subject}
    if stated != expected or len(statement.subject) != len(expected):
        raise _Failed("ID_MISMATCH", "the statement's subjects are not the plan and output of its record")


def _check_metrics(record: MetricsRecord) -> None:
    if (record.outcome == "completed") != (record.reason is None):
        raise _Failed("METRIC_INCONSISTENT", "a reason belongs to exactly those outcomes that are not `completed`")
    if record.metrics is None:
        if record.outcome == "completed":
            raise _Failed("METRIC_INCONSISTENT", "a completed execution has no metrics")
        return
    if record.measurements is None or record.power is None:
        raise _Failed("METRIC_INCONSISTENT", "there are metrics without the raw integers they come from")
    times = record.measurements.token_times_ns
    if list(times) != sorted(times):
        raise _Failed("METRIC_INCONSISTENT", "the token times go backwards")
    if record.power.window_ns != (times[-1] if times else None):
        raise _Failed("METRIC_INCONSISTENT", "the power window is not the generation window")
    if len(times) > record.plan.limits.max_tokens:
        raise _Failed("METRIC_INCONSISTENT", "there are more tokens than the plan allows")
    recomputed = derive_metrics(record.measurements, record.power)
    if recomputed != record.metrics:
        names = [
            name for name in type(recomputed).model_fields if getattr(recomputed, name) != getattr(record.metrics, name)
        ]
        raise _Failed("METRIC_INCONSISTENT", f"recomputed from the raw integers, these differ: {', '.join(names)}")


def verify_record(data: bytes, trust: Trust) -> VerificationReport:
    """Verify the bytes of one stored envelope against keys that the caller trusts.

    Args:
        data: the envelope as `GET /v1/runs/{id}/record` gives it.
        trust: keys by engine version, obtained by the caller from elsewhere than the record.

    Returns:
        A report; it never raises for a bad record.
    """
    done: list[Check] = []
    record: MetricsRecord | None = None

    def passed(message: str) -> None:
        done.append(Check(CHECKS[len(done)], "OK", message))

    try:
        if len(data) > Envelope.MAX_BYTES:
            raise _Failed("TOO_LARGE", f"{len(data)} bytes; at most {Envelope.MAX_BYTES} are read")
        passed(f"{len(data)} bytes")
        envelope = _read_envelope(data)
        passed("one DSSE envelope, no field missing or unknown")
        if envelope.payloadType != PAYLOAD_TYPE:
            raise _Failed("UNSUPPORTED_TYPE", "the payload type is not application/vnd.in-toto+json")
        passed(PAYLOAD_TYPE)
        if len(envelope.signatures) != 1:
            raise _Failed("SIGNATURE_COUNT", f"{len(envelope.signatures)} signatures; exactly one is expected")
        passed("exactly one")
        payload = _decode(envelope.payload, "payload")
        signature = _decode(envelope.signatures[0].sig, "signature")
        passed("canonical base64")
        versions = _signing_versions(trust, signature, payload)
        if not versions:
            raise _Failed("BAD_SIGNATURE", f"made by none of the {len(trust.keys)} trusted keys over these bytes")
        passed(f"Ed25519, by the key of {', '.join(versions)}")
        statement = _read_statement(payload)
        passed(f"{statement.predicateType}, in RFC 8785 form")
        record = statement.predicate
        if record.engine_version not in versions:
            raise _Failed(
                "KEY_VERSION_MISMATCH",
                f"the record is of engine version {record.engine_version}, the key speaks for {', '.join(versions)}",
            )
        passed(record.engine_version)
        _check_identity(statement)
        passed(f"{record.execution_id}, plan and output digests agree")
        _check_metrics(record)
        passed("recomputed from the raw integers, all equal" if record.metrics else "none to recompute")
    except _Failed as failure:
        done.append(Check(CHECKS[len(done)], failure.code, str(failure)))
    return VerificationReport(tuple(done), record)


def output_matches(record: MetricsRecord, output: bytes) -> bool:
    """Tell whether a text at hand is the one that the record is about."""
    return record.output is not None and sha256_digest(output) == record.output.sha256
