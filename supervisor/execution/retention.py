"""How long prompts and outputs are kept; their records stay, and name them by digest."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from supervisor.domain.errors import StorageError
from supervisor.domain.policies.policy import TextsPolicy
from supervisor.domain.records.ports import LedgerPort

__all__ = ["ERASE_EVERY_S", "erase_old_texts"]

_log = logging.getLogger(__name__)

ERASE_EVERY_S = 86_400.0


def _now() -> datetime:
    return datetime.now(UTC)


async def erase_old_texts(ledger: LedgerPort, policy: TextsPolicy, now: Callable[[], datetime] = _now) -> None:
    """Erase the texts that the policy keeps no longer; where the ledger cannot be written, the next time does it."""
    if policy.keep_days is None:
        return
    try:
        erased = await ledger.erase_texts(now() - timedelta(days=policy.keep_days))
    except StorageError as error:
        _log.warning("texts could not be erased: %s: %s", error.code, error.detail)
        return
    if erased:
        _log.info("texts of %d executions older than %d days were erased", erased, policy.keep_days)
