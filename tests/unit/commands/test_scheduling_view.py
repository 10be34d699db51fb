"""What `doctor` says of the scheduler."""

from supervisor.adapters.home import Home
from supervisor.client.engine_client import EngineClient
from supervisor.commands.scheduling_view import (
    find_held_back,
    find_leasable,
    find_standing,
    find_way,
    summarize_metrics,
)
from supervisor.domain.scheduling.topology import Core
from tests.fakes.installation import fixed_installation

METRICS = """# TYPE weos_cores gauge
weos_cores{state="idle"} 3
weos_cores{state="leased"} 5
weos_memory_bytes{state="leased"} 1610612736
weos_running{policy="default"} 1
weos_running{policy="throughput"} 2
weos_waiting{policy="default"} 4
weos_refused_total{reason="queue_full"} 6
weos_wait_seconds_bucket{le="0.1",policy="default"} 7
weos_pool_sandboxes{state="ready"} 2
weos_pool_leases_total{result="hit"} 9
weos_pool_leases_total{result="miss"} 1
weos_removals 3
"""


def test_what_there_is_to_lease_is_told_by_policy() -> None:
    cores = (Core((0, 4)), Core((1, 5)), Core((2, 6), node=1), Core((3,), node=1, is_whole=False))
    installation = fixed_installation(cores=cores, memory_bytes=2**36)
    found, memory = find_leasable(installation.host, installation.policies)
    assert found.found == "3 on 2 NUMA node(s), 2 of them whole; 1 for the supervisor"
    assert found.follows == "an execution gets: default 3, efficiency 1, exclusive 2, throughput 1"
    # 64 GiB, less 1 for the system and a quarter for the pool.
    assert memory.found == "47.0 GiB"


def test_a_policy_that_can_get_nothing_is_named() -> None:
    installation = fixed_installation(cores=(Core((0,), is_whole=False),))
    assert "exclusive refused" in find_leasable(installation.host, installation.policies)[0].follows


def test_a_running_supervisor_is_summed_up() -> None:
    assert summarize_metrics(METRICS) == (
        "5 of 8 cores and 1.5 GiB leased, 3 running, 4 waiting, 6 refused; pool: 2 ready, 9 hits, 1 misses, 0 dropped; "
        "3 ended containers to remove"
    )


def test_no_supervisor_is_no_fault(empty_home: Home) -> None:
    (finding,) = find_standing(EngineClient(empty_home))
    assert finding.good is None


def test_what_the_pool_cannot_prepare_is_told() -> None:
    assert find_held_back(METRICS) == []
    failing = "# TYPE weos_pool_failures_total counter\nweos_pool_failures_total 7\n# TYPE weos_pool_held_back gauge\n"
    (finding,) = find_held_back(f'{METRICS}{failing}weos_pool_held_back{{code="model_crashed"}} 1\n')
    assert finding.found == "1 recipe(s) held back after failures: model_crashed"
    assert finding.follows.startswith("7 sandboxes could not be made ahead")
    assert finding.good is False


def test_which_way_the_supervisor_runs_is_told(empty_home: Home) -> None:
    assert find_way(empty_home, None, is_contained=False).found == "as a process of this user"
    contained = find_way(empty_home, "unix:///var/run/docker.sock", is_contained=True)
    assert contained.found == "in a container, since this user is not root"
    assert f"docker stop weos-supervisor-{empty_home.instance_id()[:12]}" in contained.follows
    refused = find_way(empty_home, "tcp://elsewhere:2375", is_contained=True)
    assert refused.good is False
    assert "Unset DOCKER_HOST, or run as root" in refused.follows
