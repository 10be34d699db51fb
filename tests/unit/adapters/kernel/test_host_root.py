"""Where a supervisor in a container finds the host's counters: WEOS_HOST_ROOT."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from supervisor.adapters.home import Home
from supervisor.adapters.kernel.host import host_root
from supervisor.commands.power import command
from supervisor.domain.errors import EngineError
from tests.powercap import PowercapHost


def test_it_is_the_machines_own_root_unless_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WEOS_HOST_ROOT", raising=False)
    assert host_root() == Path("/")
    monkeypatch.setenv("WEOS_HOST_ROOT", "")
    assert host_root() == Path("/")
    monkeypatch.setenv("WEOS_HOST_ROOT", str(PowercapHost(tmp_path / "host").root))
    assert host_root() == tmp_path / "host"


@pytest.mark.parametrize("missing", ["sys", "proc/cpuinfo", "proc/stat"])
def test_a_root_where_something_is_not_mounted_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    root = PowercapHost(tmp_path / "host").root
    (root / missing).rename(tmp_path / "away")
    monkeypatch.setenv("WEOS_HOST_ROOT", str(root))
    with pytest.raises(EngineError, match=f"there is no {missing}") as caught:
        host_root()
    assert caught.value.code == "host_root_unsound"


def test_the_power_commands_take_it_too(empty_home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host = PowercapHost(tmp_path / "host", processor="Another processor")
    host.add_zone("intel-rapl:0", "package-0")
    monkeypatch.setenv("WEOS_HOST_ROOT", str(host.root))
    shown = CliRunner().invoke(command, ["show"]).output
    assert "there is no calibration" in shown
    assert not empty_home.calibration.exists()
