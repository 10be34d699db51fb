"""Sandboxes that no engine sends a job to, by the record's own word."""

from typing import Any

import pytest

from tests.attacks.stating import Change, both, fail, sandbox, state, unheard, unsent, warm
from tests.factories import make_receipt

GVISOR = {
    "arguments": ["--network=none", "--oci-seccomp=true"],
    "processes": 4,
    "threads": 40,
    "host_filters": 1,
    "no_new_privs": True,
    "kernel_uid": 65534,
    "file_server_cap_eff": "000000000004001f",
    "guest_uid": 65532,
    "guest_filters": 1,
}
DIFFERENCE = [{"field": "Memory", "requested": "1", "effective": "2"}]
NEVER_READY = {"cpu_features": None, "llama_cpp_version": None, "isolation": None}
SEEN = make_receipt().model_dump(mode="json")
OTHER_IMAGE = "sha256:" + "0" * 64


def receipt(**values: object) -> Change:
    return lambda predicate: predicate["sandbox"]["isolation"].update(values)


def locks(**values: object) -> Change:
    return lambda predicate: predicate["sandbox"]["isolation"]["locks"].update(values)


def of_gvisor(**values: object) -> Change:
    def change(predicate: dict[str, Any]) -> None:
        predicate["plan"]["isolation"] = "gvisor"
        receipt(tier="gvisor", locks=None, gvisor=GVISOR | values, unobserved=["lock one"])(predicate)

    return change


def with_siblings(predicate: dict[str, Any]) -> None:
    """Each of its cores has two logical CPUs."""
    sandbox(cpus=[0, 1, 2, 3])(predicate)
    receipt(cpus_allowed=[0, 1, 2, 3])(predicate)
    predicate["power"].update(reserved_cpus=4)


def without_sandbox(predicate: dict[str, Any]) -> None:
    predicate.update(sandbox=None, determinism=None)
    predicate["power"].update(samples=[], limit=None)


def never_ready(predicate: dict[str, Any]) -> None:
    sandbox(**NEVER_READY)(predicate)
    predicate.update(determinism=None)


@pytest.mark.parametrize(
    "change",
    [
        of_gvisor(),
        warm,
        sandbox(age_ms=0),
        with_siblings,
        both(warm, unsent),
        receipt(escape_report="sha256:" + "3" * 64, escape_reason=None),
        both(unsent, receipt(difference=DIFFERENCE)),
        both(unsent, receipt(difference=DIFFERENCE, network_interfaces=None, mapped_objects=None, pids_limit=None)),
        both(unsent, sandbox(isolation=None)),
        both(unsent, never_ready),
        both(unsent, never_ready, sandbox(image=OTHER_IMAGE)),
        both(unsent, sandbox(exit_code=137, oom_killed=True)),
        both(unsent, without_sandbox),
    ],
)
def test_a_statement_that_an_engine_may_make_is_valid(change: Change) -> None:
    assert state(change) == "VALID"


@pytest.mark.parametrize(
    "change",
    [
        without_sandbox,
        both(fail, without_sandbox),
        both(unheard, without_sandbox),
        sandbox(isolation=None),
        both(fail, sandbox(isolation=None)),
        both(unheard, sandbox(isolation=None)),
        never_ready,
        both(unsent, sandbox(cpu_features=None), lambda p: p.update(determinism=None)),
        both(unsent, sandbox(llama_cpp_version=None)),
        sandbox(image=OTHER_IMAGE),
        both(unsent, sandbox(image=OTHER_IMAGE)),
        both(unsent, never_ready, sandbox(isolation=SEEN)),
        both(sandbox(cpus=[1, 1]), receipt(cpus_allowed=[1, 1])),
        both(sandbox(cpus=[0]), receipt(cpus_allowed=[0])),
        sandbox(age_ms=1),
        both(warm, sandbox(age_ms=0)),
        sandbox(oom_killed=True, exit_code=0),
        sandbox(oom_killed=False, exit_code=1),
        receipt(tier="gvisor", locks=None, gvisor=GVISOR),
        receipt(locks=None),
        receipt(gvisor=GVISOR),
        of_gvisor(no_new_privs=False),
        both(of_gvisor(), receipt(gvisor=None)),
        receipt(cpus_allowed=[0, 1, 2]),
        receipt(memory_limit_bytes=None),
        receipt(memory_limit_bytes=1),
        receipt(pids_limit=None),
        receipt(pids_limit=2),
        receipt(mounts_digest=None),
        receipt(mapped_objects=None),
        receipt(mapped_objects={"files": 0, "digest": "sha256:" + "0" * 64}),
        receipt(network_interfaces=None),
        receipt(network_interfaces=[]),
        receipt(network_interfaces=["eth0", "lo"]),
        receipt(unobserved=["Memory"]),
        receipt(escape_reason=None),
        receipt(escape_report="sha256:" + "3" * 64),
        locks(seccomp_mode=0),
        locks(filters_before=0),
        locks(filters_after=1),
        locks(filters_after=3),
        locks(no_new_privs=False),
        locks(cap_eff="0000000000000001"),
        locks(cap_bnd="0000000000000001"),
        receipt(difference=DIFFERENCE),
        both(fail, receipt(difference=DIFFERENCE)),
        both(unheard, receipt(difference=DIFFERENCE)),
    ],
)
def test_a_sandbox_that_no_job_is_sent_to_is_found(change: Change) -> None:
    assert state(change) == "ID_MISMATCH"
