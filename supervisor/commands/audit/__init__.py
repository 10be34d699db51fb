"""`weos-engine audit`: everything an auditor does, offline, with the contracts alone.

A verdict is one of the codes of `contracts/README.md`; the exit status is 0 only where everything is VALID.
"""

from supervisor.console.lazy import LazyGroup

__all__ = ["command"]

# command -> what it does; each is the `command` of the module of its name beside this one
SUMMARIES = {
    "consistency": "Verify that a newer checkpoint of a ledger extends an older one.",
    "log": "Verify the export of a whole ledger.",
    "range": "Verify that every execution accepted between two sizes of a ledger has its record.",
    "record": "Verify a signed record alone, without its place in a ledger.",
    "replay": "Repeat an execution on the running engine and compare the outputs.",
    "verify": "Verify bundles: records with their proofs, checked against keys that you trust.",
    "witness": "Countersign checkpoints, and refuse rollbacks and forks.",
}

# Commands of this group that need the extra [server]: they speak to a supervisor or use its key files.
ELSEWHERE = {"replay": "supervisor.commands.replay", "witness": "supervisor.commands.witness"}

command = LazyGroup(
    name="audit",
    package=__name__,
    summaries=SUMMARIES,
    elsewhere=ELSEWHERE,
    help="Check records, logs and checkpoints offline.",
)
