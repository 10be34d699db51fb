"""Statements that no engine makes: the keys are the right ones, and the parts of the record contradict each other."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from contracts.base import canonical_bytes, sha256_digest
from contracts.envelope import Envelope, decode_base64, seal
from contracts.metrics import Measurements, derive_metrics
from contracts.power import PowerEvidence
from contracts.verify import verify_record
from supervisor.domain.recording import abort_conclusion
from tests.factories import make_conclusion, make_envelope, make_signer, make_trust

SIGNER = make_signer()
RECEIPT = {
    "tier": "hardened",
    "locks": {
        "seccomp_mode": 2,
        "filters_before": 1,
        "filters_after": 2,
        "no_new_privs": True,
        "cap_eff": "0" * 16,
        "cap_bnd": "0" * 16,
        "uid": 65532,
        "threads": 3,
    },
    "gvisor": None,
    "mounts_digest": "sha256:" + "1" * 64,
    "network_interfaces": ["lo"],
    "cpus_allowed": [0, 1],
    "memory_limit_bytes": 1_317_654_528,
    "pids_limit": 64,
    "mapped_objects": None,
    "unobserved": [],
    "escape_report": None,
    "escape_reason": "it was not run",
    "difference": [],
}
GVISOR = {
    "arguments": ["runsc"],
    "processes": 2,
    "threads": 9,
    "host_filters": 1,
    "no_new_privs": True,
    "kernel_uid": 1000,
    "file_server_cap_eff": "0" * 16,
    "guest_uid": 65532,
    "guest_filters": 2,
}
DIFFERENCE = [{"field": "Memory", "requested": "1", "effective": "2"}]
LIMIT = {
    "cap_mw": 25_000,
    "basis": "model",
    "tolerance_percent": 5,
    "grace_ms": 1000,
    "windows": 2,
    "windows_over": 1,
    "worst_window_mw": 26_000,
    "throttled_ns": None,
    "throttled_periods": None,
    "gpu_limit_mw": None,
    "actions": [],
}
Change = Callable[[dict[str, Any]], object]


def state(change: Change, envelope: bytes | None = None) -> str:
    """The verdict on a genuine record that was changed, with plan digest and metrics made to fit, and signed anew."""
    payload = json.loads(decode_base64(Envelope.parse(envelope or make_envelope(SIGNER)).payload))
    predicate = payload["predicate"]
    change(predicate)
    predicate["plan_digest"] = sha256_digest(canonical_bytes(predicate["plan"]))
    payload["subject"][0]["digest"]["sha256"] = predicate["plan_digest"].removeprefix("sha256:")
    if predicate["output"] is None:
        payload["subject"] = payload["subject"][:1]
    if predicate["metrics"] is not None:
        raw = Measurements.model_validate_json(json.dumps(predicate["measurements"]))
        power = PowerEvidence.model_validate_json(json.dumps(predicate["power"]))
        predicate["metrics"] = derive_metrics(raw, power).model_dump(mode="json")
    report = verify_record(seal(canonical_bytes(payload), SIGNER), make_trust(SIGNER))
    return report.verdict


def fail(predicate: dict[str, Any]) -> None:
    predicate.update(outcome="failed", reason={"code": "x", "message": "x"})


def raw(**values: object) -> Change:
    return lambda predicate: predicate["measurements"].update(values)


def power(**values: object) -> Change:
    return lambda predicate: predicate["power"].update(values)


def baseline(**values: object) -> Change:
    return lambda predicate: predicate["power"]["baseline"].update(values)


def limit(**values: object) -> Change:
    return lambda predicate: predicate["power"].update(limit=LIMIT | values)


def receipt(**values: object) -> Change:
    return lambda predicate: predicate["sandbox"].update(isolation=RECEIPT | values)


def metered(*domains: str, source: str, counted: tuple[str, ...] | None = None) -> Change:
    def change(predicate: dict[str, Any]) -> None:
        predicate["plan"]["power_source"] = source
        predicate["power"].update(source=source, domains=domains)
        for index, sample in enumerate(predicate["power"]["samples"]):
            sample["energy_uj"] = dict.fromkeys(domains if counted is None else counted, index * 1_000_000)
            sample["busy_ns"] = sample["cpu_time_ns"]

    return change


def both(*changes: Change) -> Change:
    def change(predicate: dict[str, Any]) -> None:
        for each in changes:
            each(predicate)

    return change


def without_limit(predicate: dict[str, Any]) -> None:
    limit()(predicate)
    predicate["plan"]["limits"]["max_watts"] = None


def with_endless_limit(predicate: dict[str, Any]) -> None:
    limit()(predicate)
    predicate["plan"]["limits"]["max_watts"] = 1e307


def warm(age_ms: int | None = 1200, *, with_load: bool = False) -> Change:
    """A sandbox that was made ahead: no load of the model was in the execution."""

    def change(predicate: dict[str, Any]) -> None:
        predicate["sandbox"].update(start="warm", age_ms=age_ms)
        if not with_load:
            samples = predicate["power"]["samples"]
            predicate["power"]["samples"] = [sample for sample in samples if sample["mark"] != "start"]

    return change


def without_metrics(predicate: dict[str, Any]) -> None:
    fail(predicate)
    predicate["metrics"] = None


def without_power(predicate: dict[str, Any]) -> None:
    without_metrics(predicate)
    predicate["power"] = None


def without_output(predicate: dict[str, Any]) -> None:
    predicate["output"] = None


def of_gvisor(predicate: dict[str, Any]) -> None:
    receipt(tier="gvisor", locks=None, gvisor=GVISOR)(predicate)
    predicate["plan"]["isolation"] = "gvisor"


def without_sandbox(predicate: dict[str, Any]) -> None:
    predicate.update(sandbox=None, determinism=None)


def never_sent(predicate: dict[str, Any]) -> None:
    fail(predicate)
    without_output(predicate)
    receipt(difference=DIFFERENCE)(predicate)


@pytest.mark.parametrize(
    "change",
    [
        receipt(),
        of_gvisor,
        never_sent,
        limit(),
        warm(),
        lambda p: p["sandbox"].update(age_ms=0),
        metered("package-0", "dram-0", source="rapl"),
        metered("gpu-0", source="nvml"),
        metered("package-0", "gpu-0", source="nvml"),
        both(metered("package-0", source="rapl"), baseline(source="measured", measured_at="2026-01-30T00:00:00.000Z")),
        both(fail, raw(finish_reason=None)),
        both(fail, raw(finish_reason=None, tokens_prompt=None, prompt_done_ns=None, token_times_ns=[])),
        both(fail, without_sandbox),
        both(fail, power(samples=[])),
        without_power,
    ],
)
def test_what_an_engine_may_state_is_valid(change: Change) -> None:
    assert state(change) == "VALID"


@pytest.mark.parametrize(
    "change",
    [
        power(source="rapl"),
        metered(source="rapl"),
        metered(source="nvml"),
        metered("package-0", source="model"),
        metered("package-0", "gpu-0", source="rapl"),
        metered("package-0", "package-0", source="rapl"),
        metered("package-0", source="rapl", counted=("package-1",)),
        metered("package-0", source="rapl", counted=("package-0", "package-1")),
        power(reserved_cpus=1),
        power(samples=[]),
        lambda p: p["power"]["samples"].pop(),
        warm(with_load=True),
        lambda p: p["power"]["samples"].pop(0),
        power(host_cpus=1),
        power(host_cpus=65_536),
        baseline(id="sha256:" + "0" * 64),
        baseline(idle_mw=0),
        baseline(spread_mw=1),
        baseline(source="measured"),
        both(metered("package-0", source="rapl"), baseline(source="measured")),
        limit(cap_mw=24_999),
        limit(basis="measured"),
        limit(windows_over=3),
        without_limit,
        with_endless_limit,
        without_metrics,
        without_output,
        raw(finish_reason=None),
        raw(finish_reason="length"),
        raw(finish_reason="stop"),
        raw(tokens_prompt=None),
        raw(tokens_prompt=None, prompt_done_ns=None),
        raw(prompt_done_ns=41_000_001),
        raw(tokens_prompt=2048),
    ],
)
def test_numbers_that_their_evidence_does_not_bear_are_found(change: Change) -> None:
    assert state(change) == "METRIC_INCONSISTENT"


@pytest.mark.parametrize(
    "change",
    [
        without_sandbox,
        lambda p: p["sandbox"].update(image="sha256:" + "0" * 64),
        lambda p: p["sandbox"].update(cpus=[1, 1]),
        lambda p: p["sandbox"].update(age_ms=1),
        warm(age_ms=0),
        warm(age_ms=None),
        receipt(tier="gvisor", locks=None, gvisor=GVISOR),
        receipt(locks=None),
        receipt(gvisor=GVISOR),
        receipt(cpus_allowed=[0, 1, 2]),
        receipt(memory_limit_bytes=None),
        receipt(difference=DIFFERENCE),
        both(fail, receipt(difference=DIFFERENCE)),
    ],
)
def test_a_sandbox_that_is_not_the_one_asked_for_is_found(change: Change) -> None:
    assert state(change) == "ID_MISMATCH"


def test_an_end_before_the_beginning_is_found() -> None:
    assert state(lambda p: p.update(finished_at="2026-01-31T12:00:00.122Z")) == "INCONSISTENT"


def test_nothing_can_be_known_of_what_another_version_left_behind() -> None:
    trust = make_trust(SIGNER, "0.2.0")
    known = make_conclusion(outcome="aborted", reason=abort_conclusion().reason)
    assert verify_record(make_envelope(SIGNER, abort_conclusion(), "0.2.0"), trust).verdict == "VALID"
    assert verify_record(make_envelope(SIGNER, known, "0.2.0"), trust).verdict == "ID_MISMATCH"
