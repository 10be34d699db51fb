"""The auditor's library: verify what an engine signed, offline, against keys that the auditor trusts.

The functions read no file and no clock. They never raise for a bad document: they return a report, whose ``verdict``
is ``VALID`` or the stable code of the first check that failed, and whose ``checks`` say how far it came. The codes are
in ``contracts/README.md``. A bundle in ``bundle.json`` is verified by::

    from pathlib import Path

    from contracts.verify import Trust, verify_bundle

    trust = Trust.parse(Path("trust.json").read_bytes())
    report = verify_bundle(Path("bundle.json").read_bytes(), trust)
    for check in report.checks:
        print(f"{check.code:12} {check.name}: {check.message}")
    print(report.verdict)
    for statement in report.not_proven:
        print("not proven:", statement)

- ``verify_record``: one signed record, by the keys that the trust names.
- ``verify_bundle``: a record of any version, the statement of its start, and their places in the ledger.
- ``verify_range``: between two sizes of a ledger, every accepted execution has its final record.
- ``verify_log``: an export of a whole ledger, line by line.
- ``verify_consistency``: one checkpoint of a ledger extends another.
"""

from contracts.verify.bundle import verify_bundle
from contracts.verify.consistency import verify_consistency
from contracts.verify.log import verify_log
from contracts.verify.range import verify_range
from contracts.verify.record import verify_record
from contracts.verify.trust import Trust

__all__ = ["Trust", "verify_bundle", "verify_consistency", "verify_log", "verify_range", "verify_record"]
