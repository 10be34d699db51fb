"""`weos-engine power` and what `doctor` says of meters, on a host that is a directory."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from contracts.execution.calibration import Calibration, CalibrationStep
from supervisor.adapters.files import write_private
from supervisor.adapters.home import Home
from supervisor.adapters.kernel.host import read_fingerprint
from supervisor.adapters.kernel.proc_stat import TICK_NS
from supervisor.adapters.policies import load_policies
from supervisor.adapters.power.rapl import open_rapl
from supervisor.commands.doctor import find_meters
from supervisor.commands.power import calibrate_host, command
from supervisor.domain.errors import EngineError
from supervisor.domain.power.calibration import Interval, measure_calibration
from supervisor.power.busy_cpus import busy_cpus
from supervisor.power.calibrator import Calibrator
from tests.places import REPOSITORY
from tests.powercap import PowercapHost

POWER = load_policies(REPOSITORY / "policies").power


@pytest.fixture
def host(tmp_path: Path) -> PowercapHost:
    return PowercapHost(tmp_path / "host")


@pytest.fixture
def sensed(host: PowercapHost) -> PowercapHost:
    host.add_zone("intel-rapl:0", "package-0")
    return host


def weos_power(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, env={"COLUMNS": "200"})


def keep_measured(home: Home, host: PowercapHost, *, days_ago: int = 0) -> Calibration:
    found = measure_calibration(
        [Interval(10**9, 5_000_000, 0)] * 4,
        [CalibrationStep(busy_cpus=1, power_mw=8000), CalibrationStep(busy_cpus=4, power_mw=15_000)],
        domains=("package-0",),
        host=read_fingerprint(host.root),
        engine_version="0.1.0",
        now=datetime.now(UTC) - timedelta(days=days_ago),
    )
    write_private(home.calibration, found.canonical())
    return found


def test_without_a_sensor_the_row_of_the_table_is_kept_and_said(empty_home: Home, host: PowercapHost) -> None:
    ran = weos_power("calibrate", "--root", str(host.root))
    assert ran.exit_code == 0, ran.output
    assert "RAPL: no zone. Nothing is measured" in ran.output
    kept = Calibration.parse(empty_home.calibration.read_bytes())
    assert (kept.source, kept.family) == ("model", "unknown")
    assert kept.canonical_digest() in ran.output
    assert empty_home.calibration.stat().st_mode & 0o077 == 0
    shown = weos_power("show", "--root", str(host.root)).output
    assert "meter: model" in shown
    assert "none, so power is not measured" in shown
    assert "calibration: valid" in shown


class Plant:
    """Has a host draw 5 W and 2 W more for each busy CPU, and moves its clock, instead of waiting."""

    def __init__(self, host: PowercapHost, *, is_load_given: bool = True) -> None:
        self._host = host
        self._is_load_given = is_load_given
        self._cpus = 0
        self._energy_uj = self._ticks = 0
        self.now_ns = 10**9

    def sleep(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)
        self._energy_uj += int(seconds * (5_000_000 + 2_000_000 * self._cpus))
        self._ticks += int(seconds * 1e9 * self._cpus) // TICK_NS
        self._host.set_energy("intel-rapl:0", self._energy_uj)
        self._host.set_busy_ticks(1000 + self._ticks)

    @contextmanager
    def load(self, count: int, limit_s: float) -> Iterator[None]:
        assert limit_s > 0
        self._cpus = count if self._is_load_given else 0
        yield
        self._cpus = 0

    def calibrate(self, home: Home) -> None:
        calibrate_host(
            home,
            self._host.root,
            30,
            open_sensor=partial(open_rapl, clock=lambda: self.now_ns),
            prepare=partial(Calibrator, load=self.load, sleep=self.sleep, usable_cpus=4),
        )


def test_with_a_sensor_the_idle_and_the_busy_machine_are_measured_and_kept(
    empty_home: Home, sensed: PowercapHost, capsys: pytest.CaptureFixture[str]
) -> None:
    Plant(sensed).calibrate(empty_home)
    kept = Calibration.parse(empty_home.calibration.read_bytes())
    assert (kept.source, kept.domains, kept.idle_mw, kept.busy_cpu_mw) == ("rapl", ("package-0",), 5000, 2000)
    assert "Keeping 4 of 4 CPUs busy" in capsys.readouterr().err


def test_a_host_that_is_given_no_cpu_time_keeps_the_calibration_that_was_there(
    empty_home: Home, sensed: PowercapHost
) -> None:
    before = keep_measured(empty_home, sensed)
    with pytest.raises(EngineError, match=r"1 CPUs should have been busy, but only 0\.00 were"):
        Plant(sensed, is_load_given=False).calibrate(empty_home)
    assert Calibration.parse(empty_home.calibration.read_bytes()) == before


def test_a_calibration_that_counts_is_shown_with_its_steps(empty_home: Home, sensed: PowercapHost) -> None:
    keep_measured(empty_home, sensed)
    shown = weos_power("show", "--root", str(sensed.root)).output
    assert "meter: rapl" in shown
    assert "domains: package-0" in shown
    assert "idle: 5.00 W (measured)" in shown
    assert "calibration: valid" in shown
    assert "15.00 W" in shown


def findings(home: Home, host: PowercapHost) -> dict[str, tuple[str, str, bool | None]]:
    found = find_meters(home, POWER, datetime.now(UTC), host.root)
    return {each.subject: (each.found, each.follows, each.good) for each in found}


def test_the_doctor_says_that_nothing_can_be_measured(empty_home: Home, host: PowercapHost) -> None:
    found = findings(empty_home, host)
    assert found["RAPL energy"][0] == "no zone"
    assert found["calibration"][0] == "none"
    assert found["meter"] == ("none: watts are modelled", "watts_source: model", None)
    assert found["NVIDIA NVML"][2] is None


def test_the_doctor_shows_the_meter_its_domains_and_the_calibration(empty_home: Home, sensed: PowercapHost) -> None:
    keep_measured(empty_home, sensed, days_ago=3)
    found = findings(empty_home, sensed)
    assert found["RAPL energy"][0] == "package-0"
    assert found["calibration"] == ("measured, 3 days old", "valid", True)
    assert found["meter"] == ("rapl: package-0", "watts_source: rapl", True)


def test_the_doctor_says_why_a_calibration_does_not_count(empty_home: Home, sensed: PowercapHost) -> None:
    keep_measured(empty_home, sensed, days_ago=POWER.meter.calibration_max_age_days + 1)
    found = findings(empty_home, sensed)
    assert "the policy allows at most" in found["calibration"][1]
    assert found["calibration"][2] is False
    assert found["meter"][0] == "none: watts are modelled"
    assert "the calibration is not valid" in found["meter"][1]


def test_the_doctor_says_that_a_required_sensor_is_missing(empty_home: Home, host: PowercapHost) -> None:
    meter = POWER.meter.model_copy(update={"require_sensor": True})
    found = find_meters(empty_home, POWER.model_copy(update={"meter": meter}), datetime.now(UTC), host.root)[-1]
    assert (found.found, found.good) == ("none", False)
    assert "require_sensor" in found.follows


@pytest.mark.parametrize(
    ("text", "found", "good"),
    [('{"limit_mw":300000,"uuid":"GPU-x"}', "GPU-x had 300 W", None), ("{}", "not the card's own", False)],
)
def test_the_doctor_shows_a_card_that_may_not_have_its_own_limit(
    empty_home: Home, host: PowercapHost, text: str, found: str, good: bool | None
) -> None:
    assert "GPU power limit" not in findings(empty_home, host)
    empty_home.gpu_limit.write_text(text)
    shown = findings(empty_home, host)["GPU power limit"]
    assert (shown[0], shown[2]) == (found, good)
    assert str(empty_home.gpu_limit) in shown[1]
    assert "nvidia-smi -pl" in shown[1]


def test_the_doctor_shows_where_the_counters_are_looked_for(empty_home: Home, host: PowercapHost) -> None:
    assert findings(empty_home, host)["host root"][0] == str(host.root)


KILLED = """
import os, signal, sys
from pathlib import Path
from supervisor.power.busy_cpus import busy_cpus
with busy_cpus(1, 600):
    Path(sys.argv[1]).write_text(Path(f"/proc/self/task/{os.getpid()}/children").read_text())
    os.kill(os.getpid(), signal.SIGKILL)
"""


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_busy_processes_are_gone_afterwards_whatever_happened() -> None:
    before = children()

    def be_interrupted() -> None:
        with busy_cpus(2, 60):
            assert len(children() - before) == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        be_interrupted()
    assert children() <= before


def test_busy_processes_do_not_outlive_a_killed_calibration(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "pid")], check=False, timeout=60)
    pid = int((tmp_path / "pid").read_text())
    deadline_s = time.monotonic() + 60
    while is_running(pid):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    # Its end is there; whoever adopted it may be slow to look.
    return state != "Z"
