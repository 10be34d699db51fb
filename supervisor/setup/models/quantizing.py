"""From an installed model to a smaller variant, through llama.cpp's quantizer in a container of its own.

What comes out is judged like any file that is added: a model file that took over the quantizer may have written it.
"""

import asyncio
import os
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.run_request import ExecutionRequest, LimitsRequest, RunRequest
from supervisor.adapters.docker.sandboxes import DockerSandboxes
from supervisor.adapters.files import locked
from supervisor.adapters.home import Home
from supervisor.adapters.installation.gguf_header import read_gguf_head
from supervisor.adapters.installation.model_claim import Claim, require_name
from supervisor.adapters.installation.model_source import require_room
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.domain.errors import EngineError, ExecutionFault
from supervisor.domain.models.quantizing import (
    QuantizationNeeds,
    estimate_needs,
    parse_progress,
    require_target,
)
from supervisor.domain.planning.installation import Installation, InstalledModel
from supervisor.domain.planning.planning import plan_execution
from supervisor.domain.sandbox.isolation import require_registered
from supervisor.domain.sandbox.ports import ExitStatus
from supervisor.domain.sandbox.quantization import build_quantization_config
from supervisor.domain.sandbox.recipe import recipe_of

__all__ = ["Order", "quantize_model"]

MODEL_FILE = "model.gguf"
# Exit status for SIGXFSZ (25): more was written than the limit on the file's size allows.
TOO_LARGE = 128 + 25
LAST_WORDS_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted."""

    source: InstalledModel
    target: str
    """Quantization of the result, such as `q4_k_m`."""
    name: str
    """Name of the result; the source's own name is usual."""
    backend: str
    """Backend whose image has the quantizer."""


def quantize_model(
    home: Home,
    docker_host: str,
    installation: Installation,
    order: Order,
    show: Callable[[int, int], None],
) -> InstalledModel:
    """Quantize a model, and install the result beside it.

    Args:
        home: holds the models.
        docker_host: address of the container engine.
        installation: images, policies and this machine.
        order: what is wanted.
        show: called with the number of tensors done and of all tensors.

    Raises:
        EngineError: ``quantization_refused``, ``quantization_failed``, ``home_taken``, ``disk_full``,
            ``engine_unavailable``, ``image_missing``, ``isolation_unavailable``, ``model_missing``, ``model_altered``
            or ``model_refused``.
    """
    file_type = require_target(order.source.quantization, order.target)
    require_name(order.name)
    _require_free(installation, order)
    plan = _plan(installation, order)
    store = ModelStore(home.models)
    try:
        with (
            locked(home.models / "quantize.lock", timeout_s=0),
            store.hold(plan.model) as located,
            store.workspace() as workspace,
        ):
            head = read_gguf_head(Path(located.directory) / MODEL_FILE)
            base_bytes = installation.policies.sandbox.quantization.memory_base_bytes
            needs = estimate_needs(head.tensors, order.source.size_bytes, base_bytes)
            require_room(f"{order.name} {order.target}", needs.output_bytes, workspace)
            output = _make_output(workspace)
            work = _Work(home, docker_host, installation, plan, needs, file_type, located.directory, output, show)
            asyncio.run(work.run())
            _require_own_file(output)
            claim = Claim(order.target, order.source.architecture, parent=order.source.sha256)
            # Nobody else has the file: its container has ended.
            return store.add(order.name, output, claim, progress=lambda _: None, take=True)
    except BlockingIOError as error:
        detail = "another model is being quantized on this home; wait for its end"
        raise EngineError("home_taken", detail) from error


def _require_free(installation: Installation, order: Order) -> None:
    if any((each.name, each.quantization) == (order.name, order.target) for each in installation.models):
        detail = f"{order.name} {order.target} is installed already; remove it first, or choose a name with --as"
        raise EngineError("quantization_refused", detail)


def _plan(installation: Installation, order: Order) -> ExecutionPlan:
    # The plan of a small execution of the source: it settles image, tier, cores and threads.
    execution = ExecutionRequest(
        backend=order.backend,
        quantization=order.source.quantization,
        limits=LimitsRequest(max_tokens=1),
        context_tokens=16,
        prompt_format="raw",
    )
    return plan_execution(RunRequest(model=order.source.name, prompt="quantize", execution=execution), installation)


def _make_output(workspace: Path) -> Path:
    # The container's user writes the file through its mount. No other user of this host can reach it: the directory
    # around it is ours alone.
    workspace.chmod(0o700)
    output = workspace / MODEL_FILE
    output.touch()
    output.chmod(0o666)
    return output


def _require_own_file(output: Path) -> None:
    status = output.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_uid != os.geteuid():
        raise EngineError("quantization_failed", "the result is no file of its own; nothing was installed")


@dataclass(frozen=True, slots=True)
class _Work:
    """One run of the quantizer."""

    home: Home
    docker_host: str
    installation: Installation
    plan: ExecutionPlan
    needs: QuantizationNeeds
    file_type: int
    model_source: str
    output: Path
    show: Callable[[int, int], None]

    async def run(self) -> None:
        policies = self.installation.policies
        # A label of its own: the supervisor removes what has its label and is not its own.
        sandboxes = await DockerSandboxes.connect(
            self.docker_host, f"{self.home.instance_id()}-quantize", self.home.seccomp_profiles
        )
        try:
            await sandboxes.require_image(self.plan.runtime_image)
            if self.plan.isolation == "gvisor":
                require_registered(policies.sandbox.isolation.gvisor, await sandboxes.runtimes())
            # Under the lock there is no other: what a killed command left.
            await sandboxes.reap()
            await self._quantize(sandboxes)
        finally:
            await sandboxes.close()

    async def _quantize(self, sandboxes: DockerSandboxes) -> None:
        policies = self.installation.policies
        config = build_quantization_config(
            recipe_of(self.plan),
            policies,
            self.needs,
            file_type=self.file_type,
            model_source=self.model_source,
            output_source=str(self.output),
            cpus=tuple(self.installation.host.logical_cpus),
            cgroup_driver=sandboxes.cgroup_driver,
        )
        policy = policies.sandbox.quantization
        model = self.plan.model.name
        name = f"weos-quantize-{secrets.token_hex(8)}"
        words = b""

        def take(line: bytes, at_ns: int) -> bool:
            del at_ns
            nonlocal words
            done = parse_progress(line)
            if done is not None:
                self.show(*done)
            if line.strip():
                words = line
            return False

        try:
            async with (
                asyncio.timeout(policy.timeout_s),
                sandboxes.open(name, config, model=model, output_bytes=policy.words_bytes_max) as sandbox,
            ):
                try:
                    await sandbox.listen(take)
                except ExecutionFault as fault:
                    _judge_end(sandbox.exit_status, words, fault, self.needs)
        except TimeoutError as error:
            detail = f"the quantizer had not finished after {policy.timeout_s} s; nothing was installed"
            raise EngineError("quantization_failed", detail) from error


def _judge_end(status: ExitStatus | None, words: bytes, fault: ExecutionFault, needs: QuantizationNeeds) -> None:
    """Return where the quantizer has finished; its end is reported as a fault, because an execution ends otherwise."""
    if status is None:
        raise fault
    if status.exit_code == 0 and not status.oom_killed:
        return
    if status.oom_killed:
        detail = f"the quantizer needed more than {needs.memory_bytes / 1e9:.1f} GB of memory; nothing was installed"
    elif status.exit_code == TOO_LARGE:
        detail = f"the quantizer wrote more than {needs.output_bytes / 1e9:.1f} GB; nothing was installed"
    else:
        last = "".join(filter(str.isprintable, words.decode("utf-8", "replace")))[:LAST_WORDS_CHARACTERS]
        detail = f"llama.cpp's quantizer gave up (exit status {status.exit_code}); nothing was installed"
        detail += f"; its last words: {last}" if last else ""
    raise EngineError("quantization_failed", detail) from fault
