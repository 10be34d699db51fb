"""What `doctor` shows of the scheduler: the leasable resources, and the state of a running supervisor."""

from prometheus_client.parser import text_string_to_metric_families

from contracts.wire.units import GIB
from supervisor.adapters.home import Home
from supervisor.client.contained_supervisor import container_name
from supervisor.client.engine_client import EngineClient
from supervisor.commands.finding import Finding
from supervisor.domain.errors import EngineError
from supervisor.domain.planning.installation import HostFacts
from supervisor.domain.policies.policy import Policies
from supervisor.domain.scheduling.cores import wanted_cores
from supervisor.domain.scheduling.leasing import leasable_memory_bytes
from supervisor.domain.scheduling.topology import split_housekeeping
from supervisor.setup.host.supervisor_container import require_socket

__all__ = ["find_held_back", "find_leasable", "find_standing", "find_way", "summarize_metrics"]


def find_leasable(host: HostFacts, policies: Policies) -> list[Finding]:
    """Return the resources that executions can lease here, in total and by scheduler policy."""
    leasable, kept = split_housekeeping(host.cores, policies.housekeeping)
    whole = [core for core in leasable if core.is_whole]
    nodes = len({core.node for core in leasable})
    aside = host.memory_bytes * policies.pool.memory_percent // 100
    memory = leasable_memory_bytes(host.memory_bytes, policies.admission.memory, set_aside_bytes=aside)
    found = f"{len(leasable)} on {nodes} NUMA node(s), {len(whole)} of them whole; {len(kept)} for the supervisor"
    shares = []
    for name, policy in sorted(policies.scheduling.items()):
        fit = len(whole) if policy.whole_cores else len(leasable)
        shares.append(f"{name} {wanted_cores(policy, fit)}" if fit else f"{name} refused")
    return [
        Finding("physical cores", found, f"an execution gets: {', '.join(shares)}", good=None),
        Finding("memory to lease", f"{memory / GIB:.1f} GiB", "a request that needs more is refused", good=None),
    ]


def find_way(home: Home, docker_host: str | None, *, is_contained: bool) -> Finding:
    """Return which way the supervisor of this user runs.

    Args:
        home: the installation.
        docker_host: the container engine's address; None: none answers.
        is_contained: whether this user may not observe sandboxes.
    """
    if not is_contained:
        return Finding("supervisor runs", "as a process of this user", "it sees all of a sandbox", good=None)
    try:
        if docker_host is not None:
            require_socket(docker_host)
    except EngineError as error:
        return Finding("supervisor runs", "not as this user", error.detail, good=False)
    follows = (
        f"started and stopped by the same commands; by hand: docker stop {container_name(home)}. It may read more than "
        "this user, such as energy counters"
    )
    return Finding("supervisor runs", "in a container, since this user is not root", follows, good=None)


def find_standing(client: EngineClient) -> list[Finding]:
    """Return the state of the running supervisor's leases, queue and pool, and what the pool cannot prepare."""
    try:
        text = client.get_bytes("/metrics").decode("utf-8")
    except EngineError as error:
        return [Finding("supervisor", "none answers", f"{error.code}; start one with: make serve", good=None)]
    return [Finding("supervisor", summarize_metrics(text), "see /metrics", good=None), *find_held_back(text)]


def find_held_back(text: str) -> list[Finding]:
    """Return what a supervisor's metrics say of sandboxes that fail again and again."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    codes = {sample.labels["code"]: sample.value for sample in samples if sample.name == "weos_pool_held_back"}
    if not codes:
        return []
    failures = sum(sample.value for sample in samples if sample.name == "weos_pool_failures_total")
    found = f"{sum(codes.values()):.0f} recipe(s) held back after failures: {', '.join(sorted(codes))}"
    follows = (
        f"{failures:.0f} sandboxes could not be made ahead. Each failure doubles the wait before the next attempt, at "
        "most 10 minutes; executions start cold meanwhile. The supervisor's log has the reason"
    )
    return [Finding("pool", found, follows, good=False)]


def summarize_metrics(text: str) -> str:
    """Return a supervisor's metrics in one line."""
    numbers = {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    def total(name: str) -> int:
        return int(sum(value for key, value in numbers.items() if key.split()[0] == name))

    leased, memory = numbers.get("weos_cores leased", 0), numbers.get("weos_memory_bytes leased", 0)
    return (
        f"{leased:.0f} of {total('weos_cores')} cores and {memory / GIB:.1f} GiB leased, "
        f"{total('weos_running')} running, {total('weos_waiting')} waiting, {total('weos_refused_total')} refused; "
        f"pool: {numbers.get('weos_pool_sandboxes ready', 0):.0f} ready, "
        f"{numbers.get('weos_pool_leases_total hit', 0):.0f} hits, "
        f"{numbers.get('weos_pool_leases_total miss', 0):.0f} misses, {total('weos_pool_dropped_total')} dropped; "
        f"{total('weos_removals')} ended containers to remove"
    )
