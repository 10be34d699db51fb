"""The escape suite in the form that a release needs: every attack on one sandbox, and the complete report."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from contracts.execution.escape_report import EscapeReport
from contracts.wire.types import IsolationTier
from supervisor.adapters.home import Home
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.adapters.installation.reader import InstallationReader
from supervisor.adapters.kernel.host import host_root, read_host_facts
from supervisor.adapters.policies import load_policies
from supervisor.console.steps import Step
from supervisor.domain.planning.installation import Installation
from supervisor.escape.catalogue import Planned, plan_attempts
from supervisor.escape.suite import run_suite
from supervisor.escape.target import open_target, plan_of_target
from supervisor.power.meters import read_power_facts

__all__ = ["InstalledEscapeSuite", "read_candidate"]


def read_candidate(home: Home, source_root: Path, engine_version: str) -> Installation:
    """Return the installation as it is under a version that is released from the source tree."""
    policies = load_policies(source_root / "policies")
    return InstallationReader(
        home.root,
        source_root,
        engine_version=engine_version,
        images=None,
        models=ModelStore(home.models),
        policies=policies,
        host=read_host_facts(),
        power=partial(read_power_facts, home.calibration, policies.power, root=host_root()),
    ).read()


class InstalledEscapeSuite:
    """See ``trial.EscapeSuite``."""

    def __init__(
        self,
        home: Home,
        docker_host: str,
        installation: Installation,
        plan: Callable[[IsolationTier], Sequence[Planned]] = plan_attempts,
    ) -> None:
        """Attack one installation.

        Args:
            home: its home.
            docker_host: URL of the container engine.
            installation: its content.
            plan: returns the attacks of a tier.
        """
        self._home = home
        self._plan = plan
        self._docker_host = docker_host
        self._installation = installation

    def __call__(self, backend: str, isolation: IsolationTier, step: Step) -> EscapeReport:
        """See ``trial.EscapeSuite``."""
        plan = plan_of_target(self._installation, backend, isolation)
        planned = self._plan(isolation)
        with open_target(self._home, self._docker_host, plan, self._installation) as target:
            return run_suite(target.cells, target.image_environment, target.facts, planned, step.update)
