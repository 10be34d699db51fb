from dataclasses import replace
from typing import Any

import pytest

from supervisor.domain.errors import ExecutionFault
from supervisor.domain.sandbox.gvisor import FilterCall, GvisorFacts, judge_gvisor
from tests.fakes.installation import fixed_installation
from tests.fakes.sandbox_facts import gvisor_as_asked, thread_under

TIER = fixed_installation().policies.sandbox.isolation.gvisor
USER = "65532:65532"
SERVER, KERNEL, STUB = gvisor_as_asked().processes
PUT_ON = FilterCall(1, 1, 0, 0)


def with_thread(process: Any, **changes: Any) -> Any:
    return replace(process, threads=(*process.threads, replace(process.threads[0], **changes)))


def test_a_gvisor_sandbox_as_requested_is_recorded() -> None:
    seen = judge_gvisor(gvisor_as_asked(), TIER, user=USER)
    assert seen.arguments == ("--network=none", "--oci-seccomp=true")
    assert (seen.processes, seen.threads, seen.host_filters) == (3, 5, 1)
    assert (seen.kernel_uid, seen.guest_uid, seen.no_new_privs) == (65534, 65532, True)
    assert (seen.file_server_cap_eff, seen.guest_filters) == ("000000000004001f", 1)


def test_a_default_argument_that_runsc_repeats_is_accepted() -> None:
    words = ("runsc-sandbox", "--platform=ptrace", *KERNEL.arguments[1:])
    facts = gvisor_as_asked(processes=(SERVER, replace(KERNEL, arguments=words), STUB))
    assert judge_gvisor(facts, TIER, user=USER).arguments == TIER_ARGUMENTS_SORTED


TIER_ARGUMENTS_SORTED = tuple(sorted(TIER.arguments))


@pytest.mark.parametrize(
    ("facts", "match"),
    [
        (None, "not asked"),
        (gvisor_as_asked(processes=()), "user namespace"),
        (gvisor_as_asked(processes=(KERNEL, STUB)), "user namespace"),
        (gvisor_as_asked(processes=(SERVER, STUB)), "user namespace"),
        (gvisor_as_asked(processes=(SERVER, SERVER, KERNEL)), "user namespace"),
        (gvisor_as_asked(processes=(replace(KERNEL, is_in_hosts_user_namespace=True), STUB)), "user namespace"),
        (gvisor_as_asked(processes=(SERVER, replace(KERNEL, threads=()))), "host's root"),
        (gvisor_as_asked(processes=(SERVER, with_thread(KERNEL, user_ids=(65534, 0, 0, 0)))), "host's root"),
        (gvisor_as_asked(processes=(SERVER, KERNEL, with_thread(STUB, seccomp_mode=0))), "no system call filter"),
        (gvisor_as_asked(processes=(with_thread(SERVER, seccomp_filters=0), KERNEL)), "no system call filter"),
        (gvisor_as_asked(processes=(SERVER, with_thread(KERNEL, no_new_privileges=False))), "gain privileges"),
        (
            gvisor_as_asked(processes=(with_thread(SERVER, cap_effective="0000000000200000"), KERNEL)),
            "more capabilities",
        ),
        (
            gvisor_as_asked(processes=(with_thread(SERVER, other_capabilities=("0000000000200000",)), KERNEL)),
            "more capabilities",
        ),
        (gvisor_as_asked(processes=(SERVER, replace(KERNEL, arguments=("python", "x")))), "not gVisor's kernel"),
        (gvisor_as_asked(processes=(SERVER, replace(KERNEL, arguments=("runsc", "boot")))), "other arguments"),
        *(
            (
                gvisor_as_asked(processes=(SERVER, replace(KERNEL, arguments=("x", word, *KERNEL.arguments[1:])))),
                "other arguments",
            )
            for word in ("--debug=true", "--ignore-cgroups=true", "--network=host", "--overlay2=all:memory")
        ),
        (
            gvisor_as_asked(processes=(SERVER, replace(KERNEL, arguments=("x", "--network=none", "boot")))),
            "other arguments",
        ),
        (gvisor_as_asked(guest=replace(gvisor_as_asked().guest, user_ids=(65532, 0, 0))), "another user"),
        (gvisor_as_asked(guest=replace(gvisor_as_asked().guest, group_ids=(0,))), "another user"),
        (gvisor_as_asked(filter_calls=None), "lost"),
        (gvisor_as_asked(filter_calls=()), "second lock"),
        (gvisor_as_asked(filter_calls=(replace(PUT_ON, error=14),)), "second lock"),
        (gvisor_as_asked(filter_calls=(replace(PUT_ON, result=7),)), "second lock"),
        (gvisor_as_asked(filter_calls=(replace(PUT_ON, flags=0),)), "second lock"),
        (gvisor_as_asked(filter_calls=(replace(PUT_ON, operation=0),)), "second lock"),
        (gvisor_as_asked(filter_calls=(PUT_ON, replace(PUT_ON, error=1))), "second lock"),
    ],
)
def test_a_gvisor_sandbox_with_any_of_these_faults_gets_no_job(facts: GvisorFacts | None, match: str) -> None:
    with pytest.raises(ExecutionFault, match=rf"the job was not sent: .*{match}") as caught:
        judge_gvisor(facts, TIER, user=USER)
    assert caught.value.code == "lock_missing"


def test_rules_for_gvisors_threads_do_not_apply_to_the_runners_threads() -> None:
    # What the host's kernel shows are gVisor's processes; none of them is the policy's user.
    assert thread_under(1).user_ids[0] not in {thread.user_ids[0] for thread in KERNEL.threads}
