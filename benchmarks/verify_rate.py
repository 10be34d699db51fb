"""How many records and bundles one core verifies in a second: ``python -m benchmarks.verify_rate``."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace

from contracts.base import sha256_digest
from contracts.bundle import Bundle
from contracts.engine_manifest import EngineManifest, ManifestSource, SourceFile
from contracts.verify import verify_record
from contracts.verify_bundle import verify_bundle
from contracts.verify_release import digest_of_source
from supervisor.domain.recording import Conclusion
from tests.audit.genuine import development_bundle, released_bundle
from tests.factories import make_conclusion
from tests.meters import make_power
from tests.releases import make_manifest

TOKENS = 200
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
        power=make_power(times[-1], times[-1]),
    )


def large_manifest() -> EngineManifest:
    """Return a manifest of as many files as the engine has."""
    files = tuple(
        SourceFile(path=f"supervisor/module_{number:03}.py", sha256=sha256_digest(b"%d" % number))
        for number in range(SOURCE_FILES)
    )
    return make_manifest(source=ManifestSource(digest=digest_of_source(files), files=files, commit="a" * 40))


def measure(name: str, size_bytes: int, verify: Callable[[], str]) -> None:
    """Print how often something is verified in a second, by processor time."""
    started_ns, done, used_s = time.process_time_ns(), 0, 0.0
    while used_s < SECONDS:
        if verify() != "VALID":
            message = f"{name} is not VALID"
            raise ValueError(message)
        done += 1
        used_s = (time.process_time_ns() - started_ns) / 1e9
    sys.stdout.write(f"{name:<34} {size_bytes:>8} bytes {done / used_s:>8.0f} /s\n")


def main() -> None:
    """Measure a record alone, and bundles of a development and of a released version."""
    developed = development_bundle(long_conclusion())
    released = released_bundle(long_conclusion(), large_manifest())
    record = Bundle.parse(developed.data).record.encode()
    measure("record", len(record), lambda: verify_record(record, developed.trust).verdict)
    for name, genuine in (("bundle, development version", developed), ("bundle, released version", released)):
        measure(name, len(genuine.data), lambda of=genuine: verify_bundle(of.data, of.trust).verdict)  # type: ignore[misc]  # a default argument has no type


if __name__ == "__main__":
    main()
