"""`weos-engine power`: the meter in use, and the calibration that it needs."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from contracts.execution.calibration import Calibration, HostFingerprint
from supervisor.adapters.files import write_private
from supervisor.adapters.home import Home, default_home
from supervisor.adapters.identity.engine_version import development_version
from supervisor.adapters.identity.release_store import DEVELOPMENT, ReleaseStore
from supervisor.adapters.installation.backends import default_source_root
from supervisor.adapters.kernel.host import read_fingerprint
from supervisor.adapters.policies import load_policies
from supervisor.adapters.power.rapl import RaplMeter, open_rapl
from supervisor.commands.supervising import run_contained
from supervisor.console.steps import ConsoleProgress, Progress
from supervisor.domain.policies.policy import PowerPolicy
from supervisor.domain.power.calibration import declare_calibration
from supervisor.domain.power.energy import select_power_model
from supervisor.domain.power.meter import MeterPort, MissingMeter
from supervisor.power.calibrator import LEAST_SECONDS, Calibrator
from supervisor.power.meters import find_calibration, open_meter

__all__ = ["calibrate_host", "command"]

MOST_SECONDS = 3600

_root_option = click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("/"),
    show_default=True,
    envvar="WEOS_HOST_ROOT",
    show_envvar=True,
    help="Directory with the host's /sys, /proc and /etc; for a supervisor in a container.",
)


@click.group(name="power")
def command() -> None:
    """Calibrate and show the power meter."""


def _policy() -> PowerPolicy:
    return load_policies(default_source_root() / "policies").power


def _engine_version(home: Home) -> str:
    selected = ReleaseStore(home.root).selected()
    return development_version(default_source_root()) if selected in {None, DEVELOPMENT} else str(selected)


@command.command(name="calibrate")
@click.option(
    "--seconds",
    type=click.IntRange(LEAST_SECONDS, MOST_SECONDS),
    default=30,
    show_default=True,
    help="How long to watch the idle machine.",
)
@_root_option
def calibrate(seconds: int, root: Path) -> None:
    """Measure the power of this machine, idle and busy, and store it; without a sensor, use the policy's table.

    Nothing else may run meanwhile, since the whole machine is measured. A running supervisor uses the result from its
    next start.
    """
    home = Home(default_home())
    if root == Path("/"):
        # In the container, the host's files lie where its WEOS_HOST_ROOT says.
        run_contained(home, ["power", "calibrate", f"--seconds={seconds}"])
    calibrate_host(home, root, seconds)


def calibrate_host(
    home: Home,
    root: Path,
    seconds: int,
    *,
    open_sensor: Callable[[Path], RaplMeter | MissingMeter] = open_rapl,
    prepare: Callable[[MeterPort, HostFingerprint, str, Progress], Calibrator] = Calibrator,
) -> None:
    """Calibrate, store the result and print it.

    Args:
        home: the installation.
        root: where the host's /sys, /proc and /etc lie.
        seconds: how long to watch the idle machine.
        open_sensor: opens the meter of the processors.
        prepare: creates the calibrator that uses the meter.

    Raises:
        EngineError: ``host_not_quiet`` or ``meter_unreadable``; an earlier calibration stays.
    """
    host, engine_version = read_fingerprint(root), _engine_version(home)
    meter = open_sensor(root)
    if isinstance(meter, MissingMeter):
        model = select_power_model(host.processor, _policy())
        found = declare_calibration(model, host=host, engine_version=engine_version, now=datetime.now(UTC))
        click.echo(
            f"RAPL: {meter.reason}. Nothing is measured; the row '{model.family}' of policies/power.toml is used, "
            f"which may be off by -{100 - model.low_percent} % to +{model.high_percent - 100} %."
        )
    else:
        found = prepare(meter, host, engine_version, ConsoleProgress()).calibrate(seconds)
    write_private(home.calibration, found.canonical())
    _print_calibration(found)
    click.echo(f"stored in {home.calibration} as {found.canonical_digest()}")


def _watts(power_mw: int) -> str:
    return f"{power_mw / 1000:.2f} W"


def _print_calibration(calibration: Calibration) -> None:
    table = Table("busy CPUs", "power", "added by each")
    if calibration.source == "model":
        table.add_row("0", _watts(calibration.idle_mw), "")
        table.add_row("each", "", _watts(calibration.busy_cpu_mw))
    else:
        table.add_row("0", f"{_watts(calibration.idle_mw)} (quartiles {_watts(calibration.spread_mw)} apart)", "")
    for step in calibration.steps:
        added_mw = (step.power_mw - calibration.idle_mw) // step.busy_cpus
        table.add_row(str(step.busy_cpus), _watts(step.power_mw), _watts(added_mw))
    Console().print(table)


@command.command(name="show")
@_root_option
def show(root: Path) -> None:
    """Show the meter that executions on processors use, and why there is no better one."""
    home, policy, now = Home(default_home()), _policy(), datetime.now(UTC)
    in_force = open_meter(home.calibration, policy, now=now, root=root)
    meter = in_force.meter
    meter.close()
    maximum_days = policy.meter.calibration_max_age_days
    found = find_calibration(home.calibration, in_force.host, now, maximum_days, domains=_domains(root))
    click.echo(f"meter: {meter.source}")
    click.echo(f"domains: {', '.join(meter.domains) or 'none, so power is not measured'}")
    click.echo(f"why no better one: {in_force.fallback_reason or 'none is available on this machine'}")
    baseline = in_force.baseline
    click.echo(f"idle: {_watts(baseline.idle_mw)} ({baseline.source}), quartiles {_watts(baseline.spread_mw)} apart")
    click.echo(f"row of policies/power.toml: {in_force.model.family}")
    click.echo(f"calibration: {found.fault or 'valid'}")
    if found.calibration is not None:
        click.echo(f"calibrated: {found.calibration.measured_at} by {found.calibration.engine_version}")
        _print_calibration(found.calibration)


def _domains(root: Path) -> tuple[str, ...]:
    rapl = open_rapl(root)
    return () if isinstance(rapl, MissingMeter) else rapl.domains
