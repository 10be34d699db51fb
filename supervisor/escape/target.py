"""The suite's targets: the sandboxes of this installation, one for each backend and isolation tier."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import docker

from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.run_request import ExecutionRequest, LimitsRequest, RunRequest
from contracts.wire.types import IsolationTier
from supervisor.adapters.docker.making import ContainerMaker
from supervisor.adapters.files import locked
from supervisor.adapters.home import Home
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.domain.errors import EngineError
from supervisor.domain.planning.installation import Backend, Installation
from supervisor.domain.planning.planning import plan_execution
from supervisor.domain.sandbox.container_engine import describe_container_engine
from supervisor.domain.sandbox.isolation import require_registered
from supervisor.escape.cell import Cell
from supervisor.escape.container_engine_facts import ContainerEngineFacts, read_container_engine_facts
from supervisor.setup.host.gvisor import registered_runtimes

__all__ = ["LABEL", "open_target", "plan_of_target", "runnable_backends"]

# Longer than the start of a container takes on a busy machine.
CALL_TIMEOUT_S = 120
# Measured on two CPUs: four containers at a time took 0.08 s each, two 0.09, one 0.14.
CONTAINERS_PER_CPU = 2
CONTAINERS_MAX = 8
LABEL = "weos.escape"


@dataclass(frozen=True, slots=True)
class Target:
    """One sandbox that the suite attacks."""

    cells: tuple[Cell, ...]
    image_environment: tuple[str, ...]
    facts: ContainerEngineFacts


def runnable_backends(installation: Installation) -> tuple[Backend, ...]:
    """Return the backends that have an image and that this machine's processor supports.

    Raises:
        EngineError: ``image_missing`` if there is no such backend.
    """
    found = tuple(
        backend
        for backend in installation.backends
        if backend.image_id is not None and backend.required_cpu_flags <= installation.host.cpu_flags
    )
    if not found:
        raise EngineError("image_missing", "this machine can run none of the installed images; run: make setup")
    return found


def plan_of_target(installation: Installation, backend: str, isolation: IsolationTier) -> ExecutionPlan:
    """Return the plan of an ordinary execution with the smallest model, since any model serves here.

    Raises:
        EngineError: ``model_missing`` if no model is installed.
        Refusal: the policies do not let this backend run in this tier.
    """
    if not installation.models:
        raise EngineError("model_missing", "no model is installed, but the suite needs the sandbox of a real execution")
    model = min(installation.models, key=lambda each: each.size_bytes)
    execution = ExecutionRequest(
        backend=backend,
        quantization=model.quantization,
        limits=LimitsRequest(max_tokens=1),
        isolation=isolation,
    )
    return plan_execution(RunRequest(model=model.name, prompt="escape", execution=execution), installation)


@contextmanager
def open_target(home: Home, docker_host: str, plan: ExecutionPlan, installation: Installation) -> Iterator[Target]:
    """Yield the sandbox of a plan. Afterwards no container is left, not even from a suite that was killed earlier.

    Raises:
        EngineError: ``home_taken`` if another suite is running on this home, ``engine_unsupported``.
        Refusal: ``isolation_unavailable``, ``model_missing`` or ``model_altered``.
    """
    runtimes = registered_runtimes(docker_host)
    tier = installation.policies.sandbox.isolation.tier(plan.isolation)
    if plan.isolation == "gvisor":
        require_registered(installation.policies.sandbox.isolation.gvisor, runtimes)
    labels = {LABEL: home.instance_id()}
    with _only_suite(home):
        client = docker.APIClient(base_url=docker_host, timeout=CALL_TIMEOUT_S)
        try:
            _remove_leftovers(client, labels)
            engine = describe_container_engine(client.version(), client.info())
            if engine.obstacle is not None:
                raise EngineError("engine_unsupported", engine.obstacle)
            maker = ContainerMaker(client, engine, home.seccomp_profiles)
            image = client.inspect_image(plan.runtime_image)  # type: ignore[no-untyped-call] # the SDK's
            cells = [
                Cell(
                    maker=maker,
                    plan=plan,
                    policies=installation.policies,
                    model_source=ModelStore(home.models).locate(plan.model).directory,
                    cgroup_driver=engine.cgroup_driver,
                    cpus=cpus,
                    labels=labels,
                )
                for cpus in _leases(installation.host.logical_cpus, plan.scheduling.cores)
            ]
            program = runtimes[tier.runtime].program if tier.runtime in runtimes else tier.runtime
            facts = read_container_engine_facts(client, tier.runtime, program)
            yield Target(tuple(cells), tuple(image["Config"]["Env"] or ()), facts)
        finally:
            _remove_leftovers(client, labels)
            client.close()


def _leases(cpus: Sequence[int], cores: int) -> list[tuple[int, ...]]:
    # The sandboxes share the machine's CPUs, because nothing is measured here.
    around = itertools.cycle(cpus)
    count = min(CONTAINERS_MAX, CONTAINERS_PER_CPU * len(cpus))
    return [tuple(sorted(set(itertools.islice(around, cores)))) for _ in range(count)]


def _remove_leftovers(client: docker.APIClient, labels: dict[str, str]) -> None:
    named = [f"{name}={value}" for name, value in labels.items()]
    for container in client.containers(all=True, filters={"label": named}):
        client.remove_container(container["Id"], force=True, v=True)


@contextmanager
def _only_suite(home: Home) -> Iterator[None]:
    home.escape.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(home.escape / "lock", timeout_s=0))
        except BlockingIOError as error:
            raise EngineError("home_taken", f"another escape suite is running on {home.root}") from error
        yield
