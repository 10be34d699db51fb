"""Tests of the isolation tier `gvisor`, and why this machine cannot run them."""

from collections.abc import Iterable
from functools import cache

import pytest

from supervisor.adapters.installation.backends import default_source_root
from supervisor.adapters.policies import load_policies
from supervisor.domain.errors import Refusal
from supervisor.domain.sandbox.isolation import require_registered
from supervisor.setup.host.container_engine import find_container_engine
from supervisor.setup.host.gvisor import registered_runtimes

__all__ = ["REASON", "count_untried", "find_obstacle", "needs_gvisor"]

NAME = "gvisor"
REASON = "the tier gvisor was not tried: "


def needs_gvisor(item: pytest.Item) -> bool:
    """Whether a test runs containers under gVisor: it is marked, or one of its parameters is this tier."""
    if item.get_closest_marker(NAME) is not None:
        return True
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return item.get_closest_marker("docker") is not None and NAME in parameters.values()


@cache
def find_obstacle() -> str | None:
    """Why nothing can run under gVisor here; None where it can."""
    host = find_container_engine()
    if host is None:
        # The fixture `docker_host` makes this a failure.
        return None
    tier = load_policies(default_source_root() / "policies").sandbox.isolation.gvisor
    try:
        require_registered(tier, registered_runtimes(host))
    except Refusal as refusal:
        return f"{REASON}{refusal.detail} YES=1"
    return None


def count_untried(reports: Iterable[pytest.TestReport]) -> int:
    """The number of skipped tests that were skipped for this reason."""
    return sum(REASON in str(report.longrepr) for report in reports)
