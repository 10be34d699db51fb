"""How many records and bundles one core verifies in a second: ``python -m benchmarks.audit.verify_rate``."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from contracts.ledger.bundle import Bundle
from contracts.releases.manifest import EngineManifest, ManifestSource, SourceFile, digest_of_source
from contracts.verify.bundle import verify_bundle
from contracts.verify.record import verify_record
from contracts.verify.trust import Trust
from contracts.wire.document import sha256_digest
from contracts.wire.envelope import Envelope, decode_base64, signature_holds
from contracts.wire.keys import load_public_key
from supervisor.domain.records.recording import Conclusion
from tests.attacks.genuine import Genuine, development_bundle, released_bundle
from tests.factories import make_conclusion, make_limit
from tests.meters import make_power
from tests.releases import make_manifest

TOKENS = 200
# The plan's power limit was kept: windows of one second were judged over four seconds, and none exceeded it.
LIMIT = make_limit().model_copy(update={"windows": 10, "worst_window_mw": 20_000})
SOURCE_FILES = 250
SECONDS = 3.0


def long_conclusion() -> Conclusion:
    """Return an execution of ``TOKENS`` tokens."""
    conclusion = make_conclusion()
    if conclusion.measurements is None:
        raise ValueError
    times = tuple(41_000_000 + 20_000_000 * number for number in range(TOKENS))
    return replace(
        conclusion,
        measurements=conclusion.measurements.model_copy(update={"token_times_ns": times}),
        power=make_power(times[-1], times[-1]).model_copy(update={"limit": LIMIT}),
    )


def large_manifest() -> EngineManifest:
    """Return a manifest with about as many files as the engine has."""
    files = tuple(
        SourceFile(path=f"supervisor/module_{number:03}.py", sha256=sha256_digest(b"%d" % number))
        for number in range(SOURCE_FILES)
    )
    return make_manifest(source=ManifestSource(digest=digest_of_source(files), files=files, commit="a" * 40))


def measure(name: str, verify: Callable[[], str], seconds: float = SECONDS) -> float:
    """Return the verifications per second of processor time."""
    started_ns, done, used_s = time.process_time_ns(), 0, 0.0
    while used_s < seconds:
        if verify() != "VALID":
            message = f"{name} is not VALID"
            raise ValueError(message)
        done += 1
        used_s = (time.process_time_ns() - started_ns) / 1e9
    return done / used_s


def record_and_trust() -> tuple[bytes, Trust]:
    """Return the record of an execution of ``TOKENS`` tokens, and the trust file for its signer."""
    developed = development_bundle(long_conclusion())
    return Bundle.parse(developed.data).record.encode(), developed.trust


def signature_rate(seconds: float = SECONDS) -> float:
    """Return how often a second the record's signature alone is verified, the upper bound of any verification."""
    record, trust = record_and_trust()
    envelope = Envelope.parse(record)
    payload, signature = decode_base64(envelope.payload), decode_base64(envelope.signatures[0].sig)
    key = load_public_key(trust.keys[0].public_key)
    return measure("signature", lambda: "VALID" if signature_holds(key, signature, payload) else "BAD", seconds)


def main() -> None:
    """Measure a record alone, and bundles of a development and of a released version."""
    record, trust = record_and_trust()
    rows = [("record", record, lambda: verify_record(record, trust).verdict)]
    bundles = {
        "bundle, development version": development_bundle(long_conclusion()),
        "bundle, released version": released_bundle(long_conclusion(), large_manifest()),
    }
    for name, genuine in bundles.items():
        rows.append((name, genuine.data, partial(_verdict_of_bundle, genuine)))
    for name, data, verify in rows:
        sys.stdout.write(f"{name:<34} {len(data):>8} bytes {measure(name, verify):>8.0f} /s\n")
    sys.stdout.write(f"{'its signature alone':<34} {'':>14} {signature_rate():>8.0f} /s\n")


def _verdict_of_bundle(genuine: Genuine) -> str:
    return verify_bundle(genuine.data, genuine.trust).verdict


if __name__ == "__main__":
    main()
