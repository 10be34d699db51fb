"""What a VALID bundle does not say, in words for the person who reads the verdict. Pure."""

from contracts.execution.metrics_record import MetricsRecord
from contracts.verify.place import Place
from contracts.verify.speaker import is_released
from contracts.verify.trust import Trust

__all__ = ["list_not_proven"]

ALWAYS = (
    "that the statement is true: a signature says who made it",
    "that no execution was left out: `audit log` tells, from an export of the whole ledger",
)


def _of_the_ledger(place: Place) -> list[str]:
    size, seen = place.checkpoint.size, place.seen
    said = []
    if not place.witnesses:
        said.append("that others are shown the same ledger (witness: none)")
    if seen is None:
        said.append("that the ledger was never another one: there is no earlier checkpoint of it in the trust")
    elif seen.size < size:
        said.append(
            f"that the ledger of {size} entries begins with the {seen.size} seen before: `audit consistency` tells"
        )
    return said


def _of_the_version(record: MetricsRecord, trust: Trust) -> list[str]:
    version = record.engine_version
    if not is_released(version):
        return [f"what {version} consists of: a development version has no manifest"]
    if trust.root is None:
        return [f"what {version} consists of, and that it was not revoked: the trust names its key, and no root"]
    return [f"that {version} was not revoked: only the revocations at hand were looked at"]


def list_not_proven(record: MetricsRecord, place: Place, trust: Trust, *, asked: bool) -> tuple[str, ...]:
    """Return one sentence for each thing that somebody may take for proven and that is not.

    Args:
        record: the verified record.
        place: its verified place in the ledger.
        trust: what it was held against.
        asked: whether the caller's nonce was found in it.
    """
    said = [*ALWAYS, *_of_the_ledger(place), *_of_the_version(record, trust)]
    if not asked:
        said.append("when it ran: the times are the engine's own, and no nonce of yours was asked for")
    if record.power is not None and record.power.source == "model":
        said.append("the watts: they are a model's estimate, not a measurement")
    return tuple(said)
