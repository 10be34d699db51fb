"""What a VALID bundle does not prove, in sentences for the person who reads the verdict. Pure."""

from contracts.execution.metrics_record import MetricsRecord
from contracts.verify.place import Place
from contracts.verify.speaker import is_released
from contracts.verify.trust import Trust

__all__ = ["list_not_proven"]

ALWAYS = (
    "that the statement is true: a signature shows only who made it",
    "that no execution was left out: check an export of the whole ledger with `audit log`",
)


def _of_the_ledger(place: Place) -> list[str]:
    size, seen = place.checkpoint.size, place.seen
    said = []
    if not place.witnesses:
        said.append("that others are shown the same ledger (witness: none)")
    if seen is None:
        said.append("that the ledger was not replaced: the trust file has no earlier checkpoint of it")
    elif seen.size < size:
        said.append(
            f"that the ledger of {size} entries begins with the {seen.size} seen before: use `audit consistency`"
        )
    return said


def _of_the_version(record: MetricsRecord, trust: Trust) -> list[str]:
    version = record.engine_version
    if not is_released(version):
        return [f"the content of {version}: a development version has no manifest"]
    if trust.root is None:
        return [f"the content of {version}, and that it was not revoked: the trust file names its key, but no root"]
    return [f"that {version} was not revoked: only the revocations at hand were checked"]


def list_not_proven(record: MetricsRecord, place: Place, trust: Trust, *, asked: bool) -> tuple[str, ...]:
    """Return one sentence for each fact that a reader may think proven, and that is not.

    Args:
        record: the verified record.
        place: its verified place in the ledger.
        trust: the trust that it was verified against.
        asked: whether the record answers a nonce of the caller's.
    """
    said = [*ALWAYS, *_of_the_ledger(place), *_of_the_version(record, trust)]
    if not asked:
        said.append("when it ran: the times are from the engine's own clock, and you gave no nonce")
    if record.power is not None and record.power.source == "model":
        said.append("the watts: a model estimated them, no meter measured them")
    return tuple(said)
