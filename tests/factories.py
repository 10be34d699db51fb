"""Genuine values for tests: plans, conclusions, and signed records made the way the product makes them."""

import json
from dataclasses import replace
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.execution.escape_report import EscapeAttempt, EscapeReport
from contracts.execution.execution_plan import ExecutionPlan
from contracts.execution.isolation_receipt import IsolationReceipt, LocksObservation, MappedObjects
from contracts.execution.metrics import Measurements
from contracts.execution.metrics_record import SandboxObservation
from contracts.execution.power_evidence import PowerAction, PowerLimitEvidence
from contracts.execution.run_request import RunRequest
from contracts.verify.trust import Trust, TrustedKey
from contracts.wire.envelope import Signer, seal
from supervisor.adapters.identity.keys import FileSigner
from supervisor.domain.planning.planning import plan_execution
from supervisor.domain.records.recording import Conclusion, build_record, encode_statement
from supervisor.execution.recorder import Recorder
from tests.fakes.installation import IMAGE, fixed_installation
from tests.fakes.run_requests import spec_request
from tests.meters import make_power

__all__ = [
    "EXECUTION_ID",
    "WHEN",
    "in_container",
    "make_conclusion",
    "make_envelope",
    "make_escape_report",
    "make_gpu_plan",
    "make_limit",
    "make_plan",
    "make_receipt",
    "make_signer",
    "make_started",
    "make_trust",
]

EXECUTION_ID = "exec_" + "0123456789abcdef" * 2
WHEN = datetime(2026, 1, 31, 12, 0, 0, 123_000, tzinfo=UTC)


def make_plan() -> ExecutionPlan:
    """The plan of the specification's request on the fixed installation."""
    return plan_execution(RunRequest.model_validate_json(json.dumps(spec_request())), fixed_installation())


def make_gpu_plan(max_watts: float | None) -> ExecutionPlan:
    """The same on a GPU, under another limit."""
    plan = make_plan()
    limits = plan.limits.model_copy(update={"max_watts": max_watts})
    return plan.model_copy(update={"backend": "cuda", "power_source": "nvml", "limits": limits})


def make_receipt() -> IsolationReceipt:
    """What is observed of the sandbox of `make_plan`, where all of it is as it should be."""
    return IsolationReceipt(
        tier="hardened",
        locks=LocksObservation(
            seccomp_mode=2,
            filters_before=1,
            filters_after=2,
            no_new_privs=True,
            cap_eff="0" * 16,
            cap_bnd="0" * 16,
            uid=65532,
            threads=3,
            programs=("sha256:" + "5" * 64, "sha256:" + "6" * 64),
        ),
        gvisor=None,
        mounts_digest="sha256:" + "1" * 64,
        network_interfaces=("lo",),
        cpus_allowed=(0, 1),
        memory_limit_bytes=make_plan().limits.memory_bytes,
        pids_limit=64,
        mapped_objects=MappedObjects(files=17, digest="sha256:" + "2" * 64),
        unobserved=(),
        escape_report=None,
        escape_reason="it was not run",
        difference=(),
    )


def make_limit() -> PowerLimitEvidence:
    """How the limit of `make_plan` was kept in less than a second: no window was complete."""
    return PowerLimitEvidence(
        cap_mw=25_000,
        basis="model",
        tolerance_percent=5,
        grace_ms=5000,
        windows=0,
        windows_over=0,
        worst_window_mw=None,
        throttled_ns=0,
        throttled_periods=0,
        gpu_limit_mw=None,
        actions=(PowerAction(at_ns=0, quota_nano_cpus=2_000_000_000, power_mw=None),),
    )


def in_container(conclusion: Conclusion, number: int) -> Conclusion:
    """The same of another container: each is used once."""
    if conclusion.sandbox is None:
        return conclusion
    return replace(conclusion, sandbox=conclusion.sandbox.model_copy(update={"container_id": f"{number:064x}"}))


def make_conclusion(**changes: object) -> Conclusion:
    """A completed execution of three tokens; keyword arguments replace fields."""
    measurements = Measurements(
        tokens_prompt=10,
        prompt_done_ns=40_000_000,
        token_times_ns=(41_000_000, 61_000_000, 82_000_000),
        finish_reason="eos",
    )
    conclusion = Conclusion(
        outcome="completed",
        reason=None,
        output="Olá",
        measurements=measurements,
        power=make_power().model_copy(update={"limit": make_limit()}),
        sandbox=SandboxObservation(
            container_id="c" * 64,
            image=IMAGE,
            start="cold",
            age_ms=0,
            cpus=(0, 1),
            cpu_features=("AVX2",),
            llama_cpp_version="0.3.36",
            isolation=make_receipt(),
            exit_code=None,
            oom_killed=None,
        ),
    )
    return replace(conclusion, **changes)  # type: ignore[arg-type] # a test names fields that exist


def make_signer() -> FileSigner:
    """A key of the test's own."""
    return FileSigner(Ed25519PrivateKey.generate())


def make_trust(signer: FileSigner, version: str | None = None) -> Trust:
    """A trust file that knows one key."""
    key = TrustedKey(engine_version=version or make_plan().engine_version, public_key=signer.public_key)
    return Trust(schema_version="weos.trust/1", keys=(key,))


def make_envelope(
    signer: FileSigner,
    conclusion: Conclusion | None = None,
    engine_version: str | None = None,
    plan: ExecutionPlan | None = None,
) -> bytes:
    """A genuine stored record."""
    plan = plan or make_plan()
    record = build_record(
        EXECUTION_ID,
        plan,
        conclusion or make_conclusion(),
        seq=1,
        manifest=None,
        engine_version=engine_version or plan.engine_version,
        accepted_at=WHEN,
        finished_at=WHEN,
    )
    return seal(encode_statement(record), signer)


def make_started(signer: Signer, execution_id: str = EXECUTION_ID, *, seq: int = 1) -> bytes:
    """A genuine statement that an execution was accepted."""
    return Recorder(make_plan().engine_version, None, signer).seal_started(
        execution_id, make_plan(), seq=seq, accepted_at=WHEN
    )


def make_escape_report(**changes: object) -> EscapeReport:
    """What the escape suite says of the sandbox of `make_plan`; keyword arguments replace fields."""
    plan = make_plan()
    attempt = EscapeAttempt(
        group="sockets",
        name="socketpair",
        moment="lock_one",
        expected=("EPERM",),
        observed="EPERM",
        verdict="blocked",
    )
    report = EscapeReport(
        schema_version="weos.escape-report/1",
        engine_version=plan.engine_version,
        isolation=plan.isolation,
        backend=plan.backend,
        runtime_image=plan.runtime_image,
        policies=plan.policies,
        kernel="6.18.0",
        container_engine="Engine 20.10.24",
        runtime="runc 1.1.5",
        calls_walked=512,
        calls_before=("read", "write"),
        calls_after=("read",),
        attempts=(attempt,),
    )
    return report.model_copy(update=changes)
