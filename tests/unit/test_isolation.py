from typing import get_args

import pytest

from contracts.types import IsolationTier, RoleName
from supervisor.domain.errors import Refusal
from supervisor.domain.isolation import RegisteredRuntime, choose_tier, require_registered
from supervisor.domain.policy import RolePolicy
from tests.fakes import fixed_installation

POLICY = fixed_installation().policies.sandbox.isolation
ROLES = {role: RolePolicy(isolation="hardened") for role in get_args(RoleName)}


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
        roles=ROLES | {"observer": RolePolicy(isolation=role), "optimizer": RolePolicy(isolation="gvisor")},
    )


@pytest.mark.parametrize("tier", get_args(IsolationTier))
def test_a_request_gets_what_it_names(tier: IsolationTier) -> None:
    assert chosen(tier) == tier
    assert chosen(tier, default="gvisor") == tier


@pytest.mark.parametrize("tier", get_args(IsolationTier))
def test_a_request_that_names_none_gets_the_default(tier: IsolationTier) -> None:
    assert chosen(None, default=tier) == tier


@pytest.mark.parametrize("demand", [{"backend": "gvisor"}, {"role": "gvisor"}, {"backend": "gvisor", "role": "gvisor"}])
def test_a_demand_refuses_the_weaker_tier_and_gives_its_own(demand: dict[str, IsolationTier]) -> None:
    with pytest.raises(Refusal, match=r"role 'observer' on backend 'cpu_avx2'.*'gvisor'") as caught:
        chosen("hardened", **demand)
    assert caught.value.code == "isolation_required"
    assert caught.value.errors[0].field == "/execution/isolation"
    assert chosen("gvisor", **demand) == chosen(None, **demand) == "gvisor"


ARGUMENTS = ("--network=none", "--platform=ptrace", "--oci-seccomp=true")


@pytest.mark.parametrize("program", ["runsc", "/usr/bin/runsc", "/opt/gvisor/runsc"])
def test_the_tier_is_there_when_the_engine_runs_it_as_the_policy_says(program: str) -> None:
    require_registered(POLICY.gvisor, {"weos-gvisor": RegisteredRuntime(program, ARGUMENTS, is_installed=True)})
    turned = RegisteredRuntime(program, ARGUMENTS[::-1], is_installed=True)
    require_registered(POLICY.gvisor, {"weos-gvisor": turned})


@pytest.mark.parametrize(
    ("registered", "match"),
    [
        ({}, "knows no runtime 'weos-gvisor'"),
        ({"runsc": RegisteredRuntime("runsc", ARGUMENTS, is_installed=True)}, "knows no runtime"),
        ({"weos-gvisor": RegisteredRuntime("/usr/bin/runc", ARGUMENTS, is_installed=True)}, "other arguments"),
        ({"weos-gvisor": RegisteredRuntime("runsc", ARGUMENTS[:2], is_installed=True)}, "other arguments"),
        (
            {"weos-gvisor": RegisteredRuntime("runsc", (*ARGUMENTS, "--ignore-cgroups"), is_installed=True)},
            "other arguments",
        ),
        ({"weos-gvisor": RegisteredRuntime("/usr/bin/runsc", ARGUMENTS, is_installed=False)}, "not at /usr/bin/runsc"),
    ],
)
def test_a_tier_that_is_not_there_is_refused_with_the_mend(
    registered: dict[str, RegisteredRuntime], match: str
) -> None:
    with pytest.raises(Refusal, match=rf"{match}.*make gvisor") as caught:
        require_registered(POLICY.gvisor, registered)
    assert caught.value.code == "isolation_unavailable"
