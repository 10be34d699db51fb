"""The scheduler's numbers to be watched."""

from supervisor.execution.scheduler_metrics import LeaseCounts, SchedulerSnapshot

IDLE = SchedulerSnapshot(cores=4, cores_leased=0, memory_bytes=100, memory_leased_bytes=0, running=(), waiting=())


def samples_of(counts: LeaseCounts, snapshot: SchedulerSnapshot) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in counts.families(snapshot)
        for sample in family.samples
    }


def test_a_bucket_counts_all_that_is_at_most_its_bound() -> None:
    counts = LeaseCounts()
    for waited_s in (0.5, 0.75, 400.0):
        counts.add_granted("p", waited_s)
    samples = samples_of(counts, IDLE)
    buckets = {key[1].removeprefix("le="): value for key, value in samples.items() if key[0].endswith("_bucket")}
    assert buckets == {
        "0.001": 0, "0.01": 0, "0.1": 0, "0.5": 1, "1": 2, "5": 2, "15": 2, "60": 2, "300": 2, "+Inf": 3,
    }  # fmt: skip
    assert samples["weos_wait_seconds_sum", "policy=p"] == 401.25
    assert samples["weos_wait_seconds_count", "policy=p"] == 3


def test_what_is_leased_waited_for_and_refused_is_counted() -> None:
    counts = LeaseCounts()
    counts.add_refused("queue_full")
    counts.add_granted("default", 0.2)
    snapshot = SchedulerSnapshot(
        cores=4,
        cores_leased=3,
        memory_bytes=100,
        memory_leased_bytes=30,
        running=("default", "default", "exclusive"),
        waiting=("default",),
    )
    samples = samples_of(counts, snapshot)
    assert {key: value for key, value in samples.items() if not key[0].startswith("weos_wait_")} == {
        ("weos_cores", "state=leased"): 3,
        ("weos_cores", "state=idle"): 1,
        ("weos_memory_bytes", "state=leased"): 30,
        ("weos_memory_bytes", "state=idle"): 70,
        ("weos_running", "policy=default"): 2,
        ("weos_running", "policy=exclusive"): 1,
        ("weos_waiting", "policy=default"): 1,
        ("weos_refused_total", "reason=queue_full"): 1,
    }


def test_waits_are_kept_apart_by_policy() -> None:
    counts = LeaseCounts()
    counts.add_granted("default", 0.2)
    counts.add_granted("exclusive", 0.0)
    samples = samples_of(counts, IDLE)
    assert samples["weos_wait_seconds_bucket", "le=0.001", "policy=default"] == 0
    assert samples["weos_wait_seconds_bucket", "le=0.001", "policy=exclusive"] == 1
