from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.wire.units import NS_PER_S
from supervisor.adapters.kernel.proc_stat import TICK_NS, read_busy_ns
from supervisor.adapters.power.model_meter import ModelMeter
from supervisor.adapters.power.rapl import READ_AT_LEAST_EVERY_S, RaplMeter, open_rapl
from supervisor.domain.power.energy_counter import MOST_W, CounterReading, counted_uj
from supervisor.domain.power.meter import MeterReading, MissingMeter
from tests.powercap import RANGE_UJ, Clock, PowercapHost

PACKAGE = "intel-rapl:0"
AMD_RANGE_UJ = 65_532_610_987


@pytest.fixture
def host(tmp_path: Path) -> PowercapHost:
    host = PowercapHost(tmp_path)
    host.add_zone(PACKAGE, "package-0", 100_000_000)
    return host


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(host: PowercapHost, clock: Clock) -> RaplMeter:
    meter = open_rapl(host.root, clock=clock)
    assert isinstance(meter, RaplMeter), meter
    return meter


def read_after(meter: RaplMeter, clock: Clock, seconds: float) -> MeterReading:
    clock.advance(seconds)
    return meter.read()


def test_energy_counts_from_the_opening(host: PowercapHost, clock: Clock) -> None:
    meter = opened(host, clock)
    assert meter.read() == MeterReading(clock.now_ns, {"package-0": 0}, 0)
    host.set_energy(PACKAGE, 112_500_000)
    assert read_after(meter, clock, 1).energy_uj == {"package-0": 12_500_000}
    assert (meter.source, meter.domains) == ("rapl", ("package-0",))


def test_counter_wrap_is_not_negative(host: PowercapHost, clock: Clock) -> None:
    host.set_energy(PACKAGE, RANGE_UJ - 4_000_000)
    meter = opened(host, clock)
    host.set_energy(PACKAGE, 6_000_000)
    assert read_after(meter, clock, 1).energy_uj == {"package-0": 10_000_000}


def test_parts_wholes_and_twins_of_a_package_are_not_added(host: PowercapHost, clock: Clock) -> None:
    host.add_zone("intel-rapl:0:0", "core")
    host.add_zone("intel-rapl:0:1", "uncore")
    host.add_zone("intel-rapl:0:2", "dram", 7)
    host.add_zone("intel-rapl:1", "psys")
    host.add_zone("intel-rapl-mmio:0", "package-0", 100_000_000)
    host.add_zone("intel-rapl-mmio:0:0", "dram", 7)
    (host.powercap / "dtpm:0").mkdir()
    assert opened(host, clock).domains == ("package-0", "dram-0")


def test_sockets_have_domains_of_their_own(host: PowercapHost, clock: Clock) -> None:
    host.add_zone("intel-rapl:1", "package-1", 50_000_000)
    host.add_zone("intel-rapl:0:0", "dram", 1)
    host.add_zone("intel-rapl:1:0", "dram", 2)
    meter = opened(host, clock)
    host.set_energy("intel-rapl:1", 53_000_000)
    host.set_energy("intel-rapl:1:0", 4_000_002)
    counted = read_after(meter, clock, 1).energy_uj
    assert counted == {"package-0": 0, "package-1": 3_000_000, "dram-0": 0, "dram-1": 4_000_000}


def test_the_memory_mapped_zone_is_used_where_there_is_no_other(tmp_path: Path, clock: Clock) -> None:
    host = PowercapHost(tmp_path)
    host.add_zone("intel-rapl:0", "psys")
    host.add_zone("intel-rapl-mmio:0", "package-0")
    meter = opened(host, clock)
    host.set_energy("intel-rapl-mmio:0", 5)
    assert read_after(meter, clock, 1).energy_uj == {"package-0": 5}


def test_dies_of_a_package_are_added(tmp_path: Path, clock: Clock) -> None:
    host = PowercapHost(tmp_path)
    host.add_zone("intel-rapl:0", "package-0-die-0", 10_000_000_000)
    host.add_zone("intel-rapl:1", "package-0-die-1", 90_000_000_000)
    meter = opened(host, clock)
    host.set_energy("intel-rapl:0", 10_001_000_000)
    host.set_energy("intel-rapl:1", 90_002_000_000)
    assert read_after(meter, clock, 1).energy_uj == {"package-0": 3_000_000}


def test_dies_that_mirror_one_register_count_once(tmp_path: Path, clock: Clock) -> None:
    host = PowercapHost(tmp_path)
    host.add_zone("intel-rapl:0", "package-0-die-0", 10_000_000_000)
    host.add_zone("intel-rapl:1", "package-0-die-1", 10_000_000_300)
    meter = opened(host, clock)
    host.set_energy("intel-rapl:0", 10_001_000_000)
    host.set_energy("intel-rapl:1", 10_001_000_300)
    assert read_after(meter, clock, 1).energy_uj == {"package-0": 1_000_000}


def test_a_zone_of_the_same_name_counts_once(host: PowercapHost, clock: Clock) -> None:
    host.add_zone("intel-rapl:1", "package-0", 7_000_000_000)
    meter = opened(host, clock)
    host.set_energy("intel-rapl:1", 7_009_000_000)
    assert read_after(meter, clock, 1).energy_uj == {"package-0": 0}


def test_no_zone_is_said(tmp_path: Path) -> None:
    assert open_rapl(tmp_path) == MissingMeter("no zone", is_there=False)


def test_a_zone_without_a_name_is_none(tmp_path: Path) -> None:
    (PowercapHost(tmp_path).powercap / "intel-rapl:0").mkdir()
    assert open_rapl(tmp_path) == MissingMeter("no zone", is_there=False)


class Denied:
    """Files that may not be read; root may read all, so that a mode would deny nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: set[Path] = set()
        read_text = Path.read_text

        def deny(path: Path, encoding: str | None = None) -> str:
            if path in self.paths:
                raise PermissionError(13, "Permission denied", str(path))
            return read_text(path, encoding)

        monkeypatch.setattr(Path, "read_text", deny)


@pytest.fixture
def denied(monkeypatch: pytest.MonkeyPatch) -> Denied:
    return Denied(monkeypatch)


def test_a_package_that_may_not_be_read_is_no_meter(host: PowercapHost, denied: Denied) -> None:
    denied.paths.add(host.powercap / PACKAGE / "energy_uj")
    assert open_rapl(host.root) == MissingMeter("permission denied: needs root", is_there=True)


def test_half_of_the_packages_is_no_meter(host: PowercapHost) -> None:
    host.add_zone("intel-rapl:1", "package-1")
    (host.powercap / "intel-rapl:1" / "energy_uj").unlink()
    missing = open_rapl(host.root)
    assert isinstance(missing, MissingMeter)
    assert missing.is_there
    assert "No such file" in missing.reason


def test_memory_that_cannot_be_read_is_left_out(host: PowercapHost, clock: Clock) -> None:
    host.add_zone("intel-rapl:0:0", "dram")
    host.set_energy("intel-rapl:0:0", "")
    assert opened(host, clock).domains == ("package-0",)


def test_losing_the_permission_is_a_gap_that_closes(host: PowercapHost, clock: Clock, denied: Denied) -> None:
    meter = opened(host, clock)
    denied.paths.add(host.powercap / PACKAGE / "energy_uj")
    gap = read_after(meter, clock, 1)
    assert gap.energy_uj == {"package-0": None}
    assert gap.faults == ("package-0: permission denied: needs root",)
    denied.paths.clear()
    host.set_energy(PACKAGE, 140_000_000)
    assert read_after(meter, clock, 1).energy_uj == {"package-0": 40_000_000}


def test_a_zone_that_vanishes_is_a_gap_until_it_is_back(host: PowercapHost, clock: Clock) -> None:
    meter = opened(host, clock)
    zone = host.powercap / PACKAGE
    zone.rename(host.root / "away")
    gap = read_after(meter, clock, 1)
    assert gap.energy_uj == {"package-0": None}
    assert "No such file" in gap.faults[0]
    (host.root / "away").rename(zone)
    assert read_after(meter, clock, 1).energy_uj == {"package-0": 0}


def test_a_gap_of_one_domain_leaves_the_others(host: PowercapHost, clock: Clock) -> None:
    host.add_zone("intel-rapl:0:0", "dram")
    meter = opened(host, clock)
    host.set_energy("intel-rapl:0:0", "x")
    host.set_energy(PACKAGE, 100_000_005)
    reading = read_after(meter, clock, 1)
    assert reading.energy_uj == {"package-0": 5, "dram-0": None}
    assert reading.faults == ("dram-0: says what is no number",)


@pytest.mark.parametrize("text", ["", "-1", "+5", "1_0", "12a", "0x10", "1e3", "9" * 20, "\N{ARABIC-INDIC DIGIT ONE}"])
def test_garbage_is_a_gap_and_never_a_zero(host: PowercapHost, clock: Clock, text: str) -> None:
    meter = opened(host, clock)
    host.set_energy(PACKAGE, text)
    reading = read_after(meter, clock, 1)
    assert reading.energy_uj == {"package-0": None}
    assert reading.faults
    host.set_energy(PACKAGE, 100_000_010)
    assert read_after(meter, clock, 1).faults == ()


@pytest.mark.parametrize("range_text", [None, "0", "many", ""])
def test_without_a_range_a_wrap_is_a_gap_that_stays(tmp_path: Path, clock: Clock, range_text: str | None) -> None:
    host = PowercapHost(tmp_path)
    zone = host.add_zone(PACKAGE, "package-0", 9_000_000, range_uj=None)
    if range_text is not None:
        (zone / "max_energy_range_uj").write_text(range_text)
    meter = opened(host, clock)
    host.set_energy(PACKAGE, 10_000_000)
    assert read_after(meter, clock, 1).energy_uj == {"package-0": 1_000_000}
    host.set_energy(PACKAGE, 4)
    gap = read_after(meter, clock, 1)
    assert gap.energy_uj == {"package-0": None}
    assert "without max_energy_range_uj" in gap.faults[0]
    host.set_energy(PACKAGE, 5)
    assert read_after(meter, clock, 1).faults == gap.faults


def test_a_wrap_that_may_have_been_missed_is_a_gap_that_stays(host: PowercapHost, clock: Clock) -> None:
    meter = opened(host, clock)
    host.set_energy(PACKAGE, 100_000_010)
    gap = read_after(meter, clock, 600)
    assert gap.energy_uj == {"package-0": None}
    assert gap.faults == ("package-0: it was not read for 600 s, in which it may have wrapped unseen",)
    assert read_after(meter, clock, 1).energy_uj == {"package-0": None}


def test_the_smallest_range_allows_the_promised_interval(tmp_path: Path, clock: Clock) -> None:
    host = PowercapHost(tmp_path)
    host.add_zone(PACKAGE, "package-0", 5_000_000, AMD_RANGE_UJ)
    meter = opened(host, clock)
    drawn_uj = int(500 * READ_AT_LEAST_EVERY_S * 1e6)
    for count in range(1, 10):
        host.set_energy(PACKAGE, (5_000_000 + count * drawn_uj) % AMD_RANGE_UJ)
        assert read_after(meter, clock, READ_AT_LEAST_EVERY_S).energy_uj == {"package-0": count * drawn_uj}


def test_a_counter_that_begins_again_is_not_taken_for_a_wrap(host: PowercapHost, clock: Clock) -> None:
    meter = opened(host, clock)
    host.set_energy(PACKAGE, 0)
    gap = read_after(meter, clock, 1)
    assert gap.energy_uj == {"package-0": None}
    assert "began anew" in gap.faults[0]


def test_a_counter_beyond_its_range_is_a_gap(host: PowercapHost, clock: Clock) -> None:
    meter = opened(host, clock)
    host.set_energy(PACKAGE, RANGE_UJ + 1)
    assert read_after(meter, clock, 1).faults == ("package-0: it is beyond its own max_energy_range_uj",)


def test_busy_time_leaves_out_idle_waiting_stolen_and_guests(host: PowercapHost, clock: Clock) -> None:
    assert read_busy_ns(host.root) == (1000 + 20 + 300 + 4 + 5) * TICK_NS
    meter = opened(host, clock)
    host.set_busy_ticks(1250)
    assert read_after(meter, clock, 1).busy_ns == 250 * TICK_NS


def test_busy_time_never_goes_back(host: PowercapHost, clock: Clock) -> None:
    meter = opened(host, clock)
    host.set_busy_ticks(1010)
    meter.read()
    host.set_busy_ticks(1009)
    assert meter.read().busy_ns == 10 * TICK_NS


@pytest.mark.parametrize("text", ["", "cpu 1 2 3\n", "cpu a b c d e f g\n", "intr 1 2 3 4 5 6 7\n"])
def test_busy_time_that_cannot_be_read_is_a_gap(host: PowercapHost, clock: Clock, text: str) -> None:
    meter = opened(host, clock)
    (host.root / "proc" / "stat").write_text(text)
    reading = meter.read()
    assert reading.busy_ns is None
    assert reading.faults == ("busy CPU time: /proc/stat cannot be read",)
    (host.root / "proc" / "stat").unlink()
    assert meter.read().busy_ns is None


def test_the_meter_without_a_sensor_reads_only_the_time(clock: Clock) -> None:
    meter = ModelMeter(clock)
    assert (meter.source, meter.domains, meter.update_ns) == ("model", (), TICK_NS)
    assert meter.read() == MeterReading(clock.now_ns, {}, None)
    meter.close()


WATTS_AND_SECONDS = st.lists(
    st.tuples(st.integers(0, MOST_W * 1000), st.floats(0.0, READ_AT_LEAST_EVERY_S)), max_size=30
)


@given(
    start_uj=st.integers(0, AMD_RANGE_UJ - 1),
    range_uj=st.sampled_from([AMD_RANGE_UJ, RANGE_UJ]),
    intervals=WATTS_AND_SECONDS,
)
def test_steps_are_not_negative_and_add_up_across_wraps(
    start_uj: int, range_uj: int, intervals: list[tuple[int, float]]
) -> None:
    true_uj, at_ns, total_uj = start_uj, 0, 0
    before = CounterReading(start_uj, 0)
    for power_mw, seconds in intervals:
        at_ns += int(seconds * NS_PER_S)
        true_uj += int(power_mw * 1000 * seconds)
        after = CounterReading(true_uj % range_uj, at_ns)
        step = counted_uj(before, after, range_uj)
        assert isinstance(step, int)
        assert step >= 0
        total_uj += step
        before = after
    assert total_uj == true_uj - start_uj


@given(
    before_uj=st.integers(0, RANGE_UJ),
    after_uj=st.integers(0, RANGE_UJ),
    elapsed_ns=st.integers(0, 10**13),
    range_uj=st.sampled_from([None, AMD_RANGE_UJ, RANGE_UJ]),
)
def test_whatever_a_counter_says_a_step_is_possible_and_certain(
    before_uj: int, after_uj: int, elapsed_ns: int, range_uj: int | None
) -> None:
    step = counted_uj(CounterReading(before_uj, 0), CounterReading(after_uj, elapsed_ns), range_uj)
    possible_uj = MOST_W * (elapsed_ns + NS_PER_S) // 1000
    if isinstance(step, int):
        assert 0 <= step <= possible_uj
        assert range_uj is None or step + range_uj > possible_uj
    else:
        assert step
