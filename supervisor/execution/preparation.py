"""Prepares a sandbox until only a job is missing, and returns what was observed of it.

Executions that start cold and the pool use the same steps, because preparation needs nothing of any request.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace

from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.isolation_receipt import IsolationReceipt
from contracts.execution.runner_protocol import ReadyEvent, RunnerEvent, SetupCommand, encode_command, parse_event
from contracts.wire.errors import ContractError
from supervisor.domain.errors import ExecutionFault
from supervisor.domain.planning.ports import InstallationPort
from supervisor.domain.policies.policy import Policies
from supervisor.domain.sandbox.ending import FAILURES_OF_LLAMA_CPP
from supervisor.domain.sandbox.gvisor import judge_gvisor
from supervisor.domain.sandbox.hardening import build_container_config, lock_program_path, model_path
from supervisor.domain.sandbox.lock_content import FilterChain
from supervisor.domain.sandbox.locks import (
    ThreadStatus,
    judge_filters,
    judge_locks,
    require_compiled_lock,
    require_first_lock,
    under_filter,
)
from supervisor.domain.sandbox.ports import LocatedModel, ModelStorePort, Sandbox, SandboxPort
from supervisor.domain.sandbox.receipt import Expectation, SandboxFacts, build_receipt
from supervisor.domain.sandbox.recipe import SandboxRecipe
from supervisor.domain.sandbox.starts import StartWatch
from supervisor.domain.sandbox.transcript import check_ready

__all__ = ["FreshSandbox", "PreparedSandbox", "Preparer", "read_event"]

# A sandbox that is made ahead has the least weight: on a busy machine its start-up code waits for seconds.
FIRST_LOCK_TIMEOUT_S = 30.0
# Where no thread is seen: the runner has ended, or the supervisor does not see the host's processes.
UNSEEN_TIMEOUT_S = 2.0
FIRST_LOCK_POLL_S = 0.005
# Poll interval while a sandbox is frozen; it may stay frozen for an hour.
HELD_POLL_S = 0.5
# Time limit from the end of a container to the end of its stream.
ENDED_WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class FreshSandbox:
    """A container that has just started, and the expectations that it must meet."""

    sandbox: Sandbox
    recipe: SandboxRecipe
    expected: Expectation
    model: LocatedModel


@dataclass(frozen=True, slots=True)
class PreparedSandbox(FreshSandbox):
    """A sandbox whose model is loaded and whose second lock is on, with what was observed then."""

    ready: ReadyEvent
    before: tuple[ThreadStatus, ...]
    facts: SandboxFacts
    programs: tuple[str, ...] | None
    """SHA-256 of each filter's program, the newest first; None: not known, as always in tier `gvisor`."""


class Preparer:
    """Prepares sandboxes."""

    def __init__(
        self,
        sandboxes: SandboxPort,
        models: ModelStorePort,
        installation: InstallationPort,
        policies: Policies,
    ) -> None:
        self._sandboxes = sandboxes
        self._models = models
        self._installation = installation
        self._policies = policies
        self.starts = StartWatch()

    @asynccontextmanager
    async def open(self, name: str, recipe: SandboxRecipe, cpus: tuple[int, ...]) -> AsyncIterator[FreshSandbox]:
        """Start a container; leaving the context ends it.

        Args:
            name: a name that was never used before.
            recipe: the recipe of the sandbox.
            cpus: logical CPUs that the container may use.

        Raises:
            EngineError: the model or image does not exist, or the container cannot be created.
        """
        # The model may be removed meanwhile; its file stays until the container has ended.
        with self._models.hold(recipe.model) as model:
            async with self._open(name, recipe, cpus, model) as fresh:
                yield fresh

    @asynccontextmanager
    async def _open(
        self, name: str, recipe: SandboxRecipe, cpus: tuple[int, ...], model: LocatedModel
    ) -> AsyncIterator[FreshSandbox]:
        config = build_container_config(
            recipe,
            self._policies.sandbox,
            self._policies.seccomp,
            model_source=model.directory,
            cpus=cpus,
            labels={"weos.sandbox": name},
            cgroup_driver=self._sandboxes.cgroup_driver,
        )
        image = self._installation.describe_image(recipe.backend, recipe.runtime_image)
        expected = Expectation(config, self._policies.sandbox, image, model.file)
        budget_bytes = self._policies.admission.output.base_bytes
        opening = self._sandboxes.open(f"weos-{name}", config, model=recipe.model.name, output_bytes=budget_bytes)
        async with AsyncExitStack() as stack:
            try:
                sandbox = await stack.enter_async_context(opening)
            except ExecutionFault as fault:
                self.starts.fail(fault.code, fault.detail, time.monotonic())
                raise
            self.starts.succeed()
            yield FreshSandbox(sandbox, recipe, expected, model)

    async def load(self, fresh: FreshSandbox, *, is_held: Callable[[], bool] = lambda: False) -> PreparedSandbox:
        """Load the model, have the runner put on the second lock, and observe the sandbox from outside.

        Args:
            fresh: the started sandbox.
            is_held: returns whether the sandbox is frozen at this moment.

        Raises:
            ExecutionFault: the sandbox differs from its recipe, or the runner sent something other than expected.
        """
        sandbox, recipe, policy = fresh.sandbox, fresh.recipe, self._policies.sandbox
        if sandbox.image_id != recipe.runtime_image:
            raise ExecutionFault("runner_failed", "the container was created from another image than the plan names")
        before = await _await_first_lock(sandbox, is_held)
        if recipe.isolation == "gvisor":
            await _watch_guest(sandbox)
        else:
            # Judged now: one that is made ahead must not wait for an execution that it would only fail.
            require_first_lock(before)
        await sandbox.send(encode_command(_setup_of(recipe, model_path(policy))))
        event, _ = await next_event(sandbox)
        ready = check_ready(event, backend=recipe.backend, model=recipe.model)
        require_compiled_lock(ready, recipe.policies["lockdown.json"])
        facts = await sandbox.observe(model_path(policy), (*policy.paths.masked, *policy.paths.read_only))
        programs = None if recipe.isolation == "gvisor" else await self._judge_filters(fresh, is_held)
        return PreparedSandbox(sandbox, recipe, fresh.expected, fresh.model, ready, before, facts, programs)

    async def _judge_filters(self, fresh: FreshSandbox, is_held: Callable[[], bool]) -> tuple[str, ...] | None:
        chains = await _read_filters(fresh.sandbox, is_held)
        if chains is None:
            return None
        # The first judgement of a program takes some tenths of a second.
        return await asyncio.to_thread(
            judge_filters,
            chains,
            image_files=fresh.expected.image.files,
            program_path=lock_program_path(self._policies.sandbox.isolation.tier(fresh.recipe.isolation)),
            profile=self._policies.seccomp,
        )

    def has_its_model(self, fresh: FreshSandbox) -> bool:
        """Return whether the model file is still the one that the sandbox was started with.

        The weights are mapped, so a sandbox computes with what is written to the file.
        """
        return self._models.is_unchanged(fresh.model)

    @contextmanager
    def requiring_model(self, fresh: FreshSandbox) -> Iterator[None]:
        """Require that the model file does not change during the block.

        Raises:
            ExecutionFault: ``model_changed``; in place of a failure of llama.cpp too, which the change explains.
        """
        try:
            yield
        except ExecutionFault as fault:
            if fault.code in FAILURES_OF_LLAMA_CPP and not self.has_its_model(fresh):
                raise _model_changed(fresh.recipe.model.name) from fault
            raise
        if not self.has_its_model(fresh):
            raise _model_changed(fresh.recipe.model.name)

    def judge(self, prepared: PreparedSandbox, plan: ExecutionPlan, cpus: tuple[int, ...]) -> IsolationReceipt:
        """Compare what was observed with the plan and return the receipt; the caller must refuse a difference.

        Args:
            prepared: the sandbox; values that a lease changes are read again now.
            plan: the plan of the execution whose job the sandbox will get.
            cpus: the logical CPUs that the sandbox has.

        Raises:
            ExecutionFault: ``lock_missing``.
        """
        facts = prepared.sandbox.refresh(prepared.facts)
        host = {**prepared.expected.config["HostConfig"], "CpusetCpus": ",".join(map(str, cpus))}
        expected = replace(prepared.expected, config={**prepared.expected.config, "HostConfig": host})
        policy = self._policies.sandbox
        is_gvisor = plan.isolation == "gvisor"
        return build_receipt(
            facts,
            expected,
            tier=plan.isolation,
            locks=None
            if is_gvisor
            else judge_locks(prepared.before, facts.threads, programs=prepared.programs, user=policy.user),
            gvisor=judge_gvisor(facts.gvisor, policy.isolation.gvisor, user=policy.user) if is_gvisor else None,
            ggml_features=prepared.ready.cpu_features,
            escape=self._installation.find_escape_evidence(plan),
        )


def _model_changed(name: str) -> ExecutionFault:
    detail = (
        f"the file of '{name}' changed while the execution used it, so the answer is not this model's; check the file "
        f"with: weos-engine models verify {name}"
    )
    return ExecutionFault("model_changed", detail)


def _setup_of(recipe: SandboxRecipe, path: str) -> SetupCommand:
    return SetupCommand(
        model_path=path,
        context_tokens=recipe.context_tokens,
        threads=recipe.scheduling.threads,
        batch_tokens=recipe.scheduling.batch_tokens,
        repack=recipe.scheduling.repack,
    )


async def _await_first_lock(sandbox: Sandbox, is_held: Callable[[], bool]) -> tuple[ThreadStatus, ...]:
    # The container engine reports "started" a moment before the start-up code puts on the first lock and becomes the
    # runner.
    since = time.monotonic()
    statuses = sandbox.thread_statuses()
    while not under_filter(statuses):
        if is_held():
            since = time.monotonic()
        if time.monotonic() - since > (FIRST_LOCK_TIMEOUT_S if statuses else UNSEEN_TIMEOUT_S):
            break
        await asyncio.sleep(HELD_POLL_S if is_held() else FIRST_LOCK_POLL_S)
        statuses = sandbox.thread_statuses()
    return statuses


async def _watch_guest(sandbox: Sandbox) -> None:
    try:
        await sandbox.watch_guest()
    except ExecutionFault:
        await _raise_how_it_ended(sandbox)
        raise


async def _read_filters(sandbox: Sandbox, is_held: Callable[[], bool]) -> tuple[FilterChain, ...] | None:
    while True:
        was_held = is_held()
        try:
            return await sandbox.read_filters()
        except ExecutionFault:
            # The threads of a frozen sandbox cannot be stopped.
            if not was_held and not is_held():
                await _raise_how_it_ended(sandbox)
                raise
            await asyncio.sleep(HELD_POLL_S)


async def _raise_how_it_ended(sandbox: Sandbox) -> None:
    """Raise how the runner ended, if it has: that explains why the kernel shows nothing of it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(ENDED_WAIT_S):
            await sandbox.receive()


async def next_event(sandbox: Sandbox) -> tuple[RunnerEvent, int]:
    """Return a runner's next event and its arrival time in ns on the monotonic clock.

    Raises:
        ExecutionFault: the line is not an event, the runner wrote too much, or the runner has ended.
    """
    line, at_ns = await sandbox.receive()
    return read_event(line), at_ns


def read_event(line: bytes) -> RunnerEvent:
    """Return the event that a runner wrote as one line.

    Raises:
        ExecutionFault: the line is not an event.
    """
    try:
        return parse_event(line)
    except ContractError as error:
        raise ExecutionFault("runner_failed", f"the runner wrote a line that is not an event ({error.code})") from error
