"""NVML's counter beside the real runner: its steps, watts, joules per token, and a record that verifies."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from contracts.execution.execution_plan import ExecutionPlan, PlannedArtifact
from contracts.execution.metrics import Measurements
from contracts.execution.power_evidence import PowerEvidence, SampleMark
from contracts.verify.record import verify_record
from contracts.wire.document import sha256_digest
from supervisor.adapters.power.model_meter import ModelMeter
from supervisor.adapters.power.nvml import open_nvml
from supervisor.domain.power.meter import MeterReading, MissingMeter
from supervisor.domain.power.power_log import PowerLog
from supervisor.execution.recorder import Recorder
from supervisor.power.meters import open_metering
from tests.factories import EXECUTION_ID, make_conclusion, make_gpu_plan, make_signer, make_trust
from tests.gpu.on_card.bench import Bench
from tests.gpu.on_card.card import counter_log, describe_steps, watts
from tests.gpu.on_card.filters import ALLOWS_ALL
from tests.gpu.on_card.runner_process import GREEDY, Answer, Job, RunnerProcess

__all__ = ["prove_energy"]

IDLE_S = 4.0
TICK_S = 0.25
LONG = "Once upon a time, in a small village by the sea, there lived an old fisherman who"
LONG_TOKENS = 4000
GENUINE = (
    "NvmlDevice, NvmlMeter, open_metering, PowerLog, derive_metrics, Recorder and verify_record are the product's; the "
    "times are those of the job; the processor's part is the model's, from the CPU time of the runner's process"
)
STAND_IN = (
    "there was no container: the plan is the tests' with the backend cuda and this job, what is said of the sandbox is "
    "the tests', the key is this run's own, and the process was told to the meter as the execution's"
)


class _Metered:
    """A job's counters, read at its marks and in between as the supervisor's sampler does."""

    def __init__(self, log: PowerLog, read: Callable[[], MeterReading], runner: RunnerProcess) -> None:
        self._log, self._read = log, read
        self._process = psutil.Process(runner.pid)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def cpu_time_ns(self) -> int:
        """Return the CPU time of the runner's process."""
        times = self._process.cpu_times()
        return int((times.user + times.system) * 1e9)

    def add(self, mark: SampleMark) -> None:
        """Read the counters."""
        with self._lock:
            self._log.add(mark, self._read(), self.cpu_time_ns())

    def notice(self, mark: SampleMark) -> None:
        """See `RunnerProcess.answer`."""
        if mark == "job":
            self.add("job")
            self._log.begin_job(time.monotonic_ns())
            self._thread.start()
            return
        if mark == "end":
            self._stop.set()
            self._thread.join(5)
        self.add(mark)

    def _tick(self) -> None:
        while not self._stop.wait(TICK_S):
            self.add("tick")


def prove_energy(bench: Bench, output: Path) -> dict[str, object]:
    """Measure the card idle, with a waiting runner, and busy; write a signed record of the job."""
    with counter_log(bench.card) as idle:
        time.sleep(IDLE_S)
    directory = bench.install(ALLOWS_ALL)
    job = Job(LONG, bench.count(LONG_TOKENS), context_tokens=4096)
    ours: set[int] = set()
    metering = open_metering(bench.work / "no-calibration", bench.policies.power, gpu_index=bench.card.index)
    metering.port.close()
    port = open_nvml(ModelMeter(), index=bench.card.index, belongs_to_execution=lambda pid, _container: pid in ours)
    if isinstance(port, MissingMeter):
        return {"fault": port.reason, "idle": describe_steps(idle)}
    log = PowerLog(metering.template(reserved_cpus=_plan(job).scheduling.cores, interval_ms=int(TICK_S * 1000)))
    log.add("start", port.read(), 0)
    with bench.loaded(directory, bench.plain(), job) as runner:
        ours |= {runner.pid, *(child.pid for child in psutil.Process(runner.pid).children(recursive=True))}
        with counter_log(bench.card) as waiting:
            time.sleep(IDLE_S / 2)
        metered = _Metered(log, port.read, runner)
        with counter_log(bench.card) as busy:
            answer = runner.answer(job, metered.notice)
        runner.end()
    port.close()
    evidence = log.evidence(None)
    busy_w = watts(busy)
    return {
        "idle": {"watts": watts(idle), "counter": describe_steps(idle)},
        "waiting_runner": {"watts": watts(waiting), "counter": describe_steps(waiting)},
        "busy": {"watts": busy_w, "counter": describe_steps(busy)},
        "tokens": len(answer.tokens),
        "finish_reason": answer.finish_reason,
        "seconds": answer.token_times_ns[-1] / 1e9,
        "decode_tokens_per_s": answer.decode_tokens_per_s,
        "joules_per_token": _joules_per_token(evidence, len(answer.tokens)),
        "fallback_reason": metering.fallback_reason,
        "record": _record(evidence, answer, job, output),
    }


def _joules_per_token(evidence: PowerEvidence, tokens: int) -> float | None:
    name = next(each for each in evidence.domains if each.startswith("gpu-"))
    at = {each.mark: each.energy_uj[name] for each in evidence.samples if each.mark in {"job", "end"}}
    began_uj, ended_uj = at.get("job"), at.get("end")
    return None if began_uj is None or ended_uj is None else (ended_uj - began_uj) / 1e6 / tokens


def _plan(job: Job) -> ExecutionPlan:
    plan = make_gpu_plan(None)
    limits = plan.limits.model_copy(update={"max_tokens": job.max_tokens})
    prompt = job.prompt.encode()
    asked = PlannedArtifact(sha256=sha256_digest(prompt), size_bytes=len(prompt))
    changes = {"limits": limits, "prompt": asked, "sampling": GREEDY, "context_tokens": job.context_tokens}
    return plan.model_copy(update=changes)


def _record(evidence: PowerEvidence, answer: Answer, job: Job, output: Path) -> dict[str, object]:
    signer = make_signer()
    plan = _plan(job)
    measurements = Measurements(
        tokens_prompt=answer.prompt_tokens,
        prompt_done_ns=answer.prompt_done_ns,
        token_times_ns=answer.token_times_ns,
        finish_reason=answer.finish_reason,  # type: ignore[arg-type] # the runner's word, parsed
    )
    conclusion = replace(make_conclusion(), output=answer.text, measurements=measurements, power=evidence)
    now = datetime.now(UTC)
    record, envelope = Recorder(plan.engine_version, None, signer).record(
        EXECUTION_ID, plan, conclusion, seq=1, accepted_at=now, finished_at=now
    )
    trust = make_trust(signer)
    (output / "record.json").write_bytes(envelope)
    (output / "record-trust.json").write_bytes(trust.canonical())
    report = verify_record(envelope, trust)
    metrics = None if record.metrics is None else record.metrics.model_dump(mode="json")
    return {
        "verdict": report.verdict,
        "checks": [str(each) for each in report.checks],
        "metrics": metrics,
        "genuine": GENUINE,
        "stand_in": STAND_IN,
    }
