"""What of an execution's counters comes to stand in its record."""

from contracts.execution.attribution import attribute_energy
from contracts.execution.power_evidence import MAX_SAMPLES, PowerEvidence, SampleMark
from supervisor.domain.power.meter import MeterReading
from supervisor.domain.power.power_log import PowerLog
from tests.factories import make_limit
from tests.meters import FakeMeter, make_metering

SECOND = 1_000_000_000
STARTED_NS = 50 * SECOND


def template() -> PowerEvidence:
    return make_metering(FakeMeter("rapl", ("package-0",))).template(reserved_cpus=2)


def add(log: PowerLog, mark: SampleMark, at_s: float, joules: float | None, cpu_s: float | None = 1.0) -> None:
    energy_uj = None if joules is None else int(joules * 1_000_000)
    cpu_ns = None if cpu_s is None else int(cpu_s * SECOND)
    at_ns = STARTED_NS + int(at_s * SECOND)
    log.add(mark, MeterReading(at_ns, {"package-0": energy_uj}, cpu_ns), cpu_ns)


def test_times_count_from_the_job_and_values_from_the_first_reading() -> None:
    log = PowerLog(template())
    add(log, "start", 0, 1000, 5)
    add(log, "job", 2, 1010, 6)
    log.begin_job(STARTED_NS + 2 * SECOND + 7)
    add(log, "end", 4, 1050, 8)
    samples = log.evidence(None).samples
    assert [(each.at_ns, each.mark) for each in samples] == [
        (-2 * SECOND - 7, "start"),
        (-7, "job"),
        (2 * SECOND - 7, "end"),
    ]
    assert [each.energy_uj["package-0"] for each in samples] == [0, 10_000_000, 50_000_000]
    assert [each.cpu_time_ns for each in samples] == [0, SECOND, 3 * SECOND]
    assert [each.busy_ns for each in samples] == [0, SECOND, 3 * SECOND]


def test_the_settings_of_a_limit_are_on_the_clock_of_the_samples() -> None:
    log = PowerLog(template())
    add(log, "start", 0, 1000)
    log.begin_job(STARTED_NS + 2 * SECOND)
    setting = make_limit().actions[0].model_copy(update={"at_ns": STARTED_NS + 3 * SECOND})
    limit = log.evidence(make_limit().model_copy(update={"actions": (setting,)})).limit
    assert limit is not None
    assert [each.at_ns for each in limit.actions] == [SECOND]


def test_without_a_job_all_times_lie_before_the_last_sample() -> None:
    log = PowerLog(template())
    add(log, "start", 0, 1)
    add(log, "end", 3, 2)
    assert [each.at_ns for each in log.evidence(None).samples] == [-3 * SECOND, 0]


def test_without_a_reading_there_are_no_samples() -> None:
    log = PowerLog(template())
    assert log.evidence(None).samples == ()
    assert attribute_energy(log.evidence(None), "job") is None


def test_a_gap_stays_a_gap() -> None:
    log = PowerLog(template())
    add(log, "start", 0, None)
    add(log, "job", 1, 1000)
    add(log, "tick", 2, 1010, None)
    samples = log.evidence(None).samples
    assert [each.energy_uj["package-0"] for each in samples] == [None, 0, 10_000_000]
    assert samples[2].cpu_time_ns is None


def test_with_a_model_the_hosts_busy_time_is_left_out() -> None:
    log = PowerLog(make_metering().template(reserved_cpus=2))
    add(log, "start", 0, None)
    assert log.evidence(None).samples[0].busy_ns is None


def test_energy_so_far_bridges_a_gap_and_is_none_inside_it() -> None:
    log = PowerLog(template())
    add(log, "start", 0, 0, 0)
    assert log.attributed_uj() == 0
    add(log, "tick", 1, 30, 1)
    # All of the busy time was the execution's; of 30 J, 1.8 J are the idle machine's, half of them its own.
    assert log.attributed_uj() == 29_100_000
    add(log, "tick", 2, None, 2)
    assert log.attributed_uj() is None
    add(log, "tick", 3, 90, 3)
    assert log.attributed_uj() == 87_300_000
    assert log.last_cpu_time_ns == 3 * SECOND
    assert log.last_at_ns == STARTED_NS + 3 * SECOND


def test_a_counter_that_cannot_be_read_at_first_has_no_energy() -> None:
    log = PowerLog(template())
    add(log, "start", 0, None)
    assert log.attributed_uj() is None


def test_a_long_execution_is_sampled_more_coarsely_and_keeps_its_marks() -> None:
    log = PowerLog(template())
    add(log, "start", 0, 0, 0)
    add(log, "job", 1, 1, 1)
    log.begin_job(STARTED_NS + SECOND)
    for second in range(2, 3 * MAX_SAMPLES):
        add(log, "tick", second, second, second)
        if second == 10:
            add(log, "prefill", second, second, second)
    add(log, "end", 3 * MAX_SAMPLES, 3 * MAX_SAMPLES, 3 * MAX_SAMPLES)
    evidence = log.evidence(None)
    assert MAX_SAMPLES // 2 <= len(evidence.samples) <= MAX_SAMPLES
    assert evidence.interval_ms == 4000
    assert [each.mark for each in evidence.samples if each.mark != "tick"] == ["start", "job", "prefill", "end"]
    whole = attribute_energy(evidence, "job")
    assert whole is not None
    assert whole.host_uj == (3 * MAX_SAMPLES - 1) * 1_000_000
    times = [each.at_ns for each in evidence.samples]
    assert times == sorted(times)


def test_the_first_gap_is_reported_with_the_reason_known_at_the_start() -> None:
    log = PowerLog(template().model_copy(update={"fallback_reason": "NVML: shared"}))
    for fault in ("NVML: shared", "package-0: later"):
        log.add("tick", MeterReading(STARTED_NS, {"package-0": None}, 0, (fault,)), 0)
    assert log.evidence(None).fallback_reason == "NVML: shared"
    log = PowerLog(template().model_copy(update={"fallback_reason": "NVML: shared"}))
    log.add("tick", MeterReading(STARTED_NS, {"package-0": None}, 0, ("package-0: gone", "dram-0: gone")), 0)
    assert log.evidence(None).fallback_reason == "NVML: shared; package-0: gone"
    long = PowerLog(template())
    long.add("tick", MeterReading(STARTED_NS, {"package-0": None}, 0, ("x" * 300,)), 0)
    assert len(str(long.evidence(None).fallback_reason)) == 256


def test_without_a_gap_there_is_no_reason() -> None:
    log = PowerLog(template())
    add(log, "start", 0, 1)
    assert log.evidence(None).fallback_reason is None
