from typing import get_args

import pytest

from contracts.wire.types import IsolationTier, RoleName
from supervisor.domain.errors import Refusal
from supervisor.domain.policies.roles import CallerLimits, RolePolicy
from supervisor.domain.sandbox.isolation import (
    RegisteredRuntime,
    choose_tier,
    fault_of_start,
    read_runtimes,
    require_registered,
)
from tests.fakes.installation import fixed_installation

POLICY = fixed_installation().policies.sandbox.isolation


def role_in(tier: IsolationTier) -> RolePolicy:
    return RolePolicy(isolation=tier, permissions=("run",), limits=CallerLimits())


ROLES = {role: role_in("hardened") for role in get_args(RoleName)}


def chosen(
    asked: IsolationTier | None,
    *,
    default: IsolationTier = "hardened",
    backend: IsolationTier = "hardened",
    role: IsolationTier = "hardened",
) -> IsolationTier:
    return choose_tier(
        asked,
        backend="cpu_avx2",
        role="observer",
        policy=POLICY.model_copy(update={"default": default, "backends": {"cpu_avx2": backend, "cuda": "gvisor"}}),
        roles=ROLES | {"observer": role_in(role), "optimizer": role_in("gvisor")},
    )


@pytest.mark.parametrize("tier", get_args(IsolationTier))
def test_a_request_gets_the_tier_it_names(tier: IsolationTier) -> None:
    assert chosen(tier) == tier
    assert chosen(tier, default="gvisor") == tier


@pytest.mark.parametrize("tier", get_args(IsolationTier))
def test_a_request_that_names_no_tier_gets_the_default(tier: IsolationTier) -> None:
    assert chosen(None, default=tier) == tier


@pytest.mark.parametrize("demand", [{"backend": "gvisor"}, {"role": "gvisor"}, {"backend": "gvisor", "role": "gvisor"}])
def test_a_demanded_tier_is_the_default_and_weaker_ones_are_refused(demand: dict[str, IsolationTier]) -> None:
    with pytest.raises(Refusal, match=r"role 'observer' on backend 'cpu_avx2'.*'gvisor'") as caught:
        chosen("hardened", **demand)
    assert caught.value.code == "isolation_required"
    assert caught.value.errors[0].field == "/execution/isolation"
    assert chosen("gvisor", **demand) == chosen(None, **demand) == "gvisor"


ARGUMENTS = ("--network=none", "--platform=ptrace", "--oci-seccomp=true")


@pytest.mark.parametrize("program", ["runsc", "/usr/bin/runsc", "/opt/gvisor/runsc"])
def test_a_tier_is_available_if_its_runtime_is_registered_as_in_the_policy(program: str) -> None:
    require_registered(POLICY.gvisor, {"weos-gvisor": RegisteredRuntime(program, ARGUMENTS, is_installed=True)})
    turned = RegisteredRuntime(program, ARGUMENTS[::-1], is_installed=True)
    require_registered(POLICY.gvisor, {"weos-gvisor": turned})


@pytest.mark.parametrize(
    ("registered", "match"),
    [
        ({}, "has no runtime 'weos-gvisor'"),
        ({"runsc": RegisteredRuntime("runsc", ARGUMENTS, is_installed=True)}, "has no runtime"),
        ({"weos-gvisor": RegisteredRuntime("/usr/bin/runc", ARGUMENTS, is_installed=True)}, "other arguments"),
        ({"weos-gvisor": RegisteredRuntime("runsc", ARGUMENTS[:2], is_installed=True)}, "other arguments"),
        (
            {"weos-gvisor": RegisteredRuntime("runsc", (*ARGUMENTS, "--ignore-cgroups"), is_installed=True)},
            "other arguments",
        ),
        (
            {"weos-gvisor": RegisteredRuntime("/usr/bin/runsc", ARGUMENTS, is_installed=False)},
            "not installed at /usr/bin/runsc",
        ),
    ],
)
def test_an_unavailable_tier_is_refused_with_the_command_that_fixes_it(
    registered: dict[str, RegisteredRuntime], match: str
) -> None:
    with pytest.raises(Refusal, match=rf"{match}.*make gvisor") as caught:
        require_registered(POLICY.gvisor, registered)
    assert caught.value.code == "isolation_unavailable"


def test_runtimes_are_read_from_the_container_engines_answer() -> None:
    info = {
        "Runtimes": {
            "runc": {"path": "runc"},
            "plain": {},
            "weos-gvisor": {"path": "/usr/bin/runsc", "runtimeArgs": ["--a"]},
        }
    }
    assert read_runtimes(info, {"runc": "/usr/sbin/runc"}.get) == {
        "runc": RegisteredRuntime("runc", (), is_installed=True),
        "plain": RegisteredRuntime("plain", (), is_installed=False),
        "weos-gvisor": RegisteredRuntime("/usr/bin/runsc", ("--a",), is_installed=False),
    }
    assert read_runtimes({}, str) == read_runtimes({"Runtimes": None}, str) == {}


@pytest.mark.parametrize(
    ("explanation", "code"),
    [
        # As dockerd 20.10 said them.
        (
            "failed to create shim task: OCI runtime create failed: creating container: cannot set up cgroup for root: "
            "configuring cgroup: write /sys/fs/cgroup/cpuset/weos/0123/cpuset.cpus: permission denied: unknown",
            "limit_unenforceable",
        ),
        (
            "failed to create shim task: OCI runtime create failed: unable to retrieve OCI runtime error (open "
            "/run/log.json: no such file or directory): fork/exec /usr/bin/runsc: no such file or directory: unknown",
            "isolation_unavailable",
        ),
        ("Unknown runtime specified weos-gvisor", "isolation_unavailable"),
    ],
)
def test_a_runtime_that_does_not_start_a_sandbox_is_named(explanation: str, code: str) -> None:
    fault = fault_of_start("weos-gvisor", explanation)
    assert fault.code == code
    assert "'weos-gvisor'" in fault.detail
    assert "/" not in fault.detail


def test_any_other_start_failure_quotes_the_container_engine_in_bounds() -> None:
    fault = fault_of_start("runc", "error while mounting volume: " + "x" * 1000)
    assert fault.code == "sandbox_failed"
    assert "mounting volume" in fault.detail
    assert len(fault.detail) == 512
