from dataclasses import replace
from typing import Any

import pytest

from contracts.execution.isolation_receipt import IsolationReceipt
from supervisor.domain.sandbox.escape_evidence import EscapeEvidence
from supervisor.domain.sandbox.hardening import build_container_config
from supervisor.domain.sandbox.receipt import Expectation, MountPoint, SandboxFacts, build_receipt, describe_difference
from supervisor.domain.sandbox.recipe import recipe_of
from tests.factories import make_plan
from tests.fakes.installation import fixed_installation
from tests.fakes.sandbox_facts import IMAGE_FACTS, MODEL_FILE, facts_as_asked, thread_under

POLICIES = fixed_installation().policies
CONFIG = build_container_config(
    recipe_of(make_plan()),
    POLICIES.sandbox,
    POLICIES.seccomp,
    model_source="/store",
    cpus=(0, 1),
    labels={},
    cgroup_driver="cgroupfs",
)
EXPECTED = Expectation(CONFIG, POLICIES.sandbox, IMAGE_FACTS, MODEL_FILE)
READ_WRITE = frozenset({"rw"})
AS_ASKED = facts_as_asked(CONFIG, (thread_under(2), thread_under(2)))

EVIDENCE = EscapeEvidence(None, "not run")


def receipt_for(facts: SandboxFacts, features: tuple[str, ...] = ("FMA", "AVX2")) -> IsolationReceipt:
    return build_receipt(facts, EXPECTED, tier="hardened", locks=None, ggml_features=features, escape=EVIDENCE)


def differing(**changes: Any) -> dict[str, tuple[str, str]]:
    receipt = receipt_for(replace(AS_ASKED, **changes))
    return {each.field: (each.requested, each.effective) for each in receipt.difference}


def mounts_with(*added: MountPoint, without: str = "") -> tuple[MountPoint, ...]:
    assert AS_ASKED.mounts is not None
    return (*(mount for mount in AS_ASKED.mounts if mount.path != without), *added)


def test_a_sandbox_as_requested_has_no_difference() -> None:
    receipt = receipt_for(AS_ASKED)
    assert receipt.difference == ()
    assert receipt.cpus_allowed == (0, 1)
    assert receipt.network_interfaces == ("lo",)
    assert receipt.mapped_objects is not None
    assert receipt.mapped_objects.files == 1


GVISOR = Expectation(
    build_container_config(
        recipe_of(make_plan().model_copy(update={"isolation": "gvisor"})),
        POLICIES.sandbox,
        POLICIES.seccomp,
        model_source="/store",
        cpus=(0, 1),
        labels={},
        cgroup_driver="cgroupfs",
    ),
    POLICIES.sandbox,
    IMAGE_FACTS,
    MODEL_FILE,
)


def in_gvisor(**changes: Any) -> IsolationReceipt:
    """The receipt of a sandbox of which only that can be seen what gVisor and its file server show."""
    seen: dict[str, Any] = {
        "mounts": (
            MountPoint("/", "/", "overlay", frozenset({"ro"})),
            MountPoint("/model", "/store", "ext4", frozenset({"ro", "nosuid", "nodev", "noexec"})),
            MountPoint("/etc/hostname", "/x/hostname", "ext4", frozenset({"rw"})),
        ),
        "present": {},
        "limits": {"Max open files": (64, 64)},
    }
    facts = replace(facts_as_asked(GVISOR.config, (thread_under(1),)), **seen | changes)
    return build_receipt(facts, GVISOR, tier="gvisor", ggml_features=("FMA", "AVX2"), escape=EVIDENCE)


def test_facts_that_gvisor_hides_are_listed_as_unobserved() -> None:
    receipt = in_gvisor()
    assert receipt.difference == ()
    assert {"MaskedPaths", "ReadonlyPaths", "lock one", "ulimit core"} <= set(receipt.unobserved)
    assert "ulimit nofile" not in receipt.unobserved
    assert receipt_for(AS_ASKED).unobserved == ()


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("Runtime", {"engine": GVISOR.config["HostConfig"] | {"Runtime": "runc"}}),
        ("Memory", {"memory_bytes": 2**63 - 1}),
        ("PidsLimit", {"pids_max": 64}),
        ("CpusetCpus", {"threads": (thread_under(1, cpus_allowed=(0, 1, 2)),)}),
        ("ulimit nofile", {"limits": {"Max open files": (65, 65)}}),
        ("writable mounts", {"mounts": (MountPoint("/", "/", "overlay", READ_WRITE),)}),
        ("model mount", {"mounts": (MountPoint("/", "/", "overlay", frozenset({"ro"})),)}),
        ("mapped files", {"mapped_files": {"/usr/lib/unknown.so": "e" * 64}}),
    ],
)
def test_facts_that_gvisor_shows_are_compared_with_the_request(field: str, changes: dict[str, Any]) -> None:
    assert field in {each.field for each in in_gvisor(**changes).difference}


def test_digests_do_not_depend_on_the_order_of_observations() -> None:
    assert AS_ASKED.mounts is not None
    turned = replace(AS_ASKED, mounts=tuple(reversed(AS_ASKED.mounts)))
    assert receipt_for(turned) == receipt_for(AS_ASKED)
    other = replace(AS_ASKED, mounts=mounts_with(without="/model"))
    assert receipt_for(other).mounts_digest != receipt_for(AS_ASKED).mounts_digest


LIMITS = AS_ASKED.limits or {}


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("AutoRemove", {"engine": CONFIG["HostConfig"] | {"AutoRemove": True}}),
        ("NetworkMode", {"engine": CONFIG["HostConfig"] | {"NetworkMode": "bridge"}}),
        ("IpcMode", {"engine": {key: value for key, value in CONFIG["HostConfig"].items() if key != "IpcMode"}}),
        ("CpusetCpus", {"threads": (thread_under(2), thread_under(2, cpus_allowed=(0, 1, 2)))}),
        ("CpusetCpus", {"threads": ()}),
        ("Memory", {"memory_bytes": 2**63 - 1}),
        ("MemorySwap", {"memory_and_swap_bytes": 2**63 - 1}),
        ("PidsLimit", {"pids_max": 65}),
        ("NanoCpus", {"cpu_quota_nano": None}),
        ("OomScoreAdj", {"oom_score_adj": 0}),
        ("network interfaces", {"interfaces": ("lo", "eth0")}),
        ("network interfaces", {"interfaces": None}),
        ("control group", {"control_group": "/docker/0123"}),
        ("control group", {"control_group": None}),
        ("ulimit fsize", {"limits": {**LIMITS, "Max file size": (0, None)}}),
        ("ulimit core", {"limits": {key: value for key, value in LIMITS.items() if key != "Max core file size"}}),
        ("Env", {"environment": (*(AS_ASKED.environment or ()), "SECRET=1")}),
        ("Env", {"environment": (AS_ASKED.environment or ())[:-1]}),
        ("Env", {"environment": None}),
        ("mounts", {"mounts": None}),
        ("writable mounts", {"mounts": mounts_with(MountPoint("/", "/", "overlay", READ_WRITE), without="/")}),
        ("writable mounts", {"mounts": mounts_with(MountPoint("/tmp", "/", "tmpfs", READ_WRITE))}),
        ("writable mounts", {"mounts": mounts_with(MountPoint("/x", "/null/y", "tmpfs", READ_WRITE))}),
        (
            "model mount",
            {"mounts": mounts_with(MountPoint("/model", "/s", "ext4", frozenset({"ro"})), without="/model")},
        ),
        ("model mount", {"mounts": mounts_with(without="/model")}),
        ("MaskedPaths", {"mounts": mounts_with(without="/proc/keys")}),
        ("MaskedPaths", {"mounts": mounts_with(without="/proc/1/net")}),
        ("ReadonlyPaths", {"mounts": mounts_with(without="/proc/sys")}),
        ("no shared memory", {"mounts": mounts_with(MountPoint("/dev/shm", "/", "tmpfs", frozenset({"ro"})))}),
        ("model file", {"model": replace(MODEL_FILE, inode=3)}),
        ("model file", {"model": None}),
        ("mapped files", {"mapped_files": {"/usr/bin/python3.11": "f" * 64}}),
        ("mapped files", {"mapped_files": {"/usr/bin/python3.11": "e" * 64, "/memfd:x (deleted)": None}}),
        ("mapped files", {"mapped_files": {"/usr/lib/unknown.so": "e" * 64}}),
        ("mapped files", {"mapped_files": None}),
    ],
)
def test_each_deviation_from_the_request_is_a_difference(field: str, changes: dict[str, Any]) -> None:
    assert set(differing(**changes)) == {field}


def test_limits_that_cannot_be_seen_are_a_difference() -> None:
    assert set(differing(limits=None)) == {f"ulimit {name}" for name in ("core", "fsize", "memlock", "nofile", "stack")}


def test_another_build_of_ggml_is_a_difference() -> None:
    for features in (("AVX2",), ("AVX2", "FMA", "AVX512")):
        receipt = receipt_for(AS_ASKED, features)
        assert [each.field for each in receipt.difference] == ["ggml features"]


def test_a_difference_shows_both_values_in_bounds() -> None:
    assert differing(pids_max=65) == {"PidsLimit": ("64", "65")}
    assert differing(interfaces=None) == {"network interfaces": ("lo", "not seen")}
    paths = {f"/{number:0100}": None for number in range(50)}
    assert len(differing(mapped_files=paths)["mapped files"][1]) == 256


def test_an_unseen_fact_is_explained_by_missing_privileges() -> None:
    seen = describe_difference(receipt_for(replace(AS_ASKED, pids_max=65)))
    assert "PidsLimit" in seen
    assert "CAP_SYS_PTRACE" not in seen
    assert "--cgroupns" not in seen
    unmapped = describe_difference(receipt_for(replace(AS_ASKED, mapped_files=None)))
    assert "CAP_SYS_PTRACE" in unmapped
    assert "--cgroupns" not in unmapped


def test_a_control_group_out_of_sight_is_told_by_its_cause() -> None:
    told = describe_difference(receipt_for(replace(AS_ASKED, memory_bytes=None, pids_max=None)))
    assert "--cgroupns host" in told
    assert "CAP_SYS_PTRACE" not in told


def test_unlimited_memory_is_recorded_as_a_number_that_json_keeps() -> None:
    assert receipt_for(replace(AS_ASKED, memory_bytes=2**63 - 1)).memory_limit_bytes == 2**53 - 1
    assert receipt_for(replace(AS_ASKED, memory_bytes=None)).memory_limit_bytes is None
