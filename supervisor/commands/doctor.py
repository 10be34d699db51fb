"""`weos-engine doctor`: what this host supports, and the consequences."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import click
import docker
from docker.errors import DockerException
from rich.console import Console
from rich.table import Table

from contracts.wire.types import IsolationTier
from supervisor.adapters.home import Home, default_home
from supervisor.adapters.installation.backends import default_source_root, load_backends
from supervisor.adapters.installation.image_record import stored_image
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.adapters.kernel.host import host_root, read_fingerprint, read_host_facts
from supervisor.adapters.kernel.privilege import may_observe
from supervisor.adapters.policies import load_policies
from supervisor.adapters.power.model_meter import ModelMeter
from supervisor.adapters.power.nvml import open_nvml
from supervisor.adapters.power.nvml_limit import describe_left_limit
from supervisor.adapters.power.rapl import RaplMeter, open_rapl
from supervisor.client.engine_client import EngineClient
from supervisor.commands.escape import read_installation, run_escape
from supervisor.commands.finding import Finding
from supervisor.commands.models.findings import find_left_downloads, find_models
from supervisor.commands.scheduling_view import find_leasable, find_standing, find_way
from supervisor.commands.supervising import run_contained
from supervisor.domain.errors import EngineError, Refusal
from supervisor.domain.planning.installation import HostFacts
from supervisor.domain.policies.policy import PowerPolicy
from supervisor.domain.power.meter import MissingMeter
from supervisor.domain.preflight import LIMIT_SUPPORT, find_engine_obstacle, find_lacking_limits, find_machine_obstacle
from supervisor.domain.sandbox.container_engine import describe_container_engine
from supervisor.domain.sandbox.isolation import read_runtimes, require_registered
from supervisor.power.meters import FoundCalibration, find_calibration, open_meter
from supervisor.setup.host.container_engine import find_container_engine
from supervisor.setup.host.container_engine_address import judge_access
from supervisor.setup.host.container_engine_facts import read_container_engine_facts
from supervisor.setup.host.machine_facts import read_machine_facts
from supervisor.setup.host.programs import find_program

__all__ = ["command", "find_meters"]

ENGINE_TIMEOUT_S = 10
OBSTACLE = "this machine"
# Without these, no backend and no model helps.
NEEDED = {"container engine", "control groups", "supervisor runs", OBSTACLE}


def _find_engine(home: Home) -> list[Finding]:
    host = find_container_engine()
    if host is None:
        follows = judge_access(os.environ, os.geteuid()) or "nothing can be executed; run: make setup"
        return [Finding("container engine", "none answers", follows, good=False)]
    try:
        client = docker.DockerClient(base_url=host, timeout=ENGINE_TIMEOUT_S)
        info, version = client.info(), client.version()
    except DockerException as error:
        return [Finding("container engine", f"{host}: {type(error).__name__}", "nothing can be executed", good=False)]
    engine = describe_container_engine(version, info)
    security = ", ".join(option.removeprefix("name=") for option in info.get("SecurityOptions") or []) or "none"
    has_seccomp = "seccomp" in security
    return [
        Finding(
            "container engine",
            f"{engine.name} {engine.version} at {host} (API {version['ApiVersion']})",
            engine.obstacle or "executions can run",
            good=engine.obstacle is None,
        ),
        _find_limits(info),
        *_show_obstacle(find_engine_obstacle(read_container_engine_facts(info, home.root, is_local=False))),
        *_find_warnings(info),
        Finding(
            "kernel security",
            security,
            "the filter of policies/seccomp.json is applied" if has_seccomp else "system calls cannot be filtered",
            good=has_seccomp,
        ),
        *_find_tiers(info),
    ]


def _show_obstacle(obstacle: str | None) -> list[Finding]:
    return [] if obstacle is None else [Finding(OBSTACLE, "nothing can be executed", obstacle, good=False)]


def _find_tiers(info: dict[str, Any]) -> list[Finding]:
    policy = load_policies(default_source_root() / "policies").sandbox.isolation
    runtimes = read_runtimes(info, find_program)
    hardened = Finding("tier hardened", f"runtime {policy.hardened.runtime}", "requests may ask for it")
    if policy.hardened.runtime not in runtimes:
        hardened = Finding("tier hardened", f"no runtime {policy.hardened.runtime}", "refused", good=False)
    if not may_observe():
        return [hardened, Finding("tier gvisor", "the supervisor runs in a container", "refused there", good=None)]
    try:
        require_registered(policy.gvisor, runtimes)
    except Refusal as refusal:
        return [hardened, Finding("tier gvisor", refusal.detail, "requests that ask for it are refused", good=None)]
    program = runtimes[policy.gvisor.runtime].program
    return [
        hardened,
        Finding("tier gvisor", f"runtime {policy.gvisor.runtime}: {program}", "requests may ask for it"),
    ]


def _find_warnings(info: dict[str, Any]) -> list[Finding]:
    warnings = "; ".join(info.get("Warnings") or ())
    if not warnings:
        return []
    follows = "harmless unless a limit is named: each limit is read from the kernel before a job is sent"
    return [Finding("container engine's warnings", warnings, follows, good=None)]


def _find_limits(info: dict[str, Any]) -> Finding:
    found = f"version {info.get('CgroupVersion', 'unknown')}, driver {info.get('CgroupDriver', 'unknown')}"
    lacking = find_lacking_limits(info)
    if lacking:
        follows = f"executions are refused: the container engine cannot limit {', '.join(lacking)}"
        return Finding("control groups", found, follows, good=False)
    return Finding("control groups", found, f"{', '.join(LIMIT_SUPPORT)} can be limited")


def _find_backends(home: Home, host: HostFacts) -> list[Finding]:
    findings = []
    for name, definition in sorted(load_backends(default_source_root()).items()):
        missing = sorted(set(definition.required_cpu_flags) - host.cpu_flags)
        image = stored_image(home.root, name)
        if missing:
            findings.append(Finding(f"backend {name}", f"CPU lacks {', '.join(missing)}", "refused", good=False))
        elif image is None:
            how_to_build = f"build it with: weos-engine images build {name}"
            findings.append(Finding(f"backend {name}", "CPU supported, image not built", how_to_build, good=None))
        else:
            findings.append(Finding(f"backend {name}", f"CPU supported, image {image.image_id[:19]}", "can execute"))
    return findings


def find_meters(home: Home, power: PowerPolicy, now: datetime, root: Path = Path("/")) -> list[Finding]:
    """Return the available energy meters, and which of them executions use.

    Args:
        home: the installation.
        power: `power.toml`.
        now: the current time, UTC.
        root: where the host's /sys, /proc and /etc lie.
    """
    rapl = open_rapl(root)
    domains = () if isinstance(rapl, MissingMeter) else rapl.domains
    days = power.meter.calibration_max_age_days
    found = find_calibration(home.calibration, read_fingerprint(root), now, days, domains=domains)
    return [
        Finding(
            "host root", str(root), "the host's /sys, /proc and /etc are read here; set by WEOS_HOST_ROOT", good=None
        ),
        _show_rapl(rapl),
        _show_nvml(),
        *_show_left_limit(home.gpu_limit),
        _show_calibration(found, now),
        _show_meter(home, power, now, root),
    ]


def _show_rapl(rapl: RaplMeter | MissingMeter) -> Finding:
    if isinstance(rapl, MissingMeter):
        return Finding("RAPL energy", rapl.reason, "the processors' watts are modelled, and marked as such", good=None)
    return Finding("RAPL energy", ", ".join(rapl.domains), "the processors' watts can be measured")


def _show_nvml() -> Finding:
    gpu = open_nvml(ModelMeter())
    if isinstance(gpu, MissingMeter):
        follows = "the device's energy is not measured" if gpu.is_there else "no GPU backend and no GPU energy"
        return Finding("NVIDIA NVML", gpu.reason, follows, good=None)
    gpu.close()
    return Finding(
        "NVIDIA NVML", ", ".join(gpu.domains), "the device's energy can be measured; no backend uses a GPU yet"
    )


def _show_left_limit(kept: Path) -> list[Finding]:
    try:
        left = describe_left_limit(kept)
    except EngineError as error:
        return [Finding("GPU power limit", "not the card's own", error.detail, good=False)]
    if left is None:
        return []
    follows = (
        "a running execution has changed it, or a supervisor was killed during one. The next execution restores it; to "
        f"restore it by hand, use nvidia-smi -pl, then remove {kept}"
    )
    return [Finding("GPU power limit", left, follows, good=None)]


def _show_calibration(found: FoundCalibration, now: datetime) -> Finding:
    if found.calibration is None:
        return Finding("calibration", "none", str(found.fault), good=None)
    age = now - datetime.fromisoformat(found.calibration.measured_at)
    what = "measured" if found.calibration.domains else "taken from the table"
    return Finding("calibration", f"{what}, {age.days} days old", found.fault or "valid", good=found.fault is None)


def _show_meter(home: Home, power: PowerPolicy, now: datetime, root: Path) -> Finding:
    try:
        in_force = open_meter(home.calibration, power, now=now, root=root)
    except Refusal as refusal:
        return Finding("meter", "none", refusal.detail, good=False)
    meter = in_force.meter
    meter.close()
    reason = f" ({in_force.fallback_reason})" if in_force.fallback_reason else ""
    follows = f"watts_source: {meter.source}{reason}"
    if not meter.domains:
        return Finding("meter", "none: watts are modelled", follows, good=None)
    return Finding("meter", f"{meter.source}: {', '.join(meter.domains)}", follows)


@click.command(name="doctor")
@click.option("--escape", is_flag=True, help="Attack the installed sandboxes from inside instead; about a minute each.")
@click.option(
    "--tier",
    "tiers",
    multiple=True,
    type=click.Choice(get_args(IsolationTier)),
    help="With --escape: attack this isolation tier, which must be installed; default: every installed tier.",
)
@click.option("--json", "as_json", is_flag=True, help="With --escape: each report as a line of JSON.")
def command(escape: bool, tiers: tuple[IsolationTier, ...], as_json: bool) -> None:
    """Show what this host supports, and the consequences. Exit status 1 where nothing can be executed.

    With --escape: exit status 1 where the result of an attack was not as expected.
    """
    home = Home(default_home())
    if escape:
        options = [*(f"--tier={tier}" for tier in tiers), *(["--json"] if as_json else [])]
        run_contained(home, ["doctor", "--escape", *options])
        raise SystemExit(run_escape(home, read_installation(home), tiers, as_json=as_json))
    if tiers or as_json:
        message = "--tier and --json need --escape"
        raise click.UsageError(message)
    _show_host(home)


def _show_host(home: Home) -> None:
    host = read_host_facts()
    policies = load_policies(default_source_root() / "policies")
    gib = host.memory_bytes / 2**30
    findings = [
        *_find_engine(home),
        *_show_obstacle(find_machine_obstacle(read_machine_facts(home.root, default_source_root()))),
        find_way(home, find_container_engine(), is_contained=not may_observe()),
        Finding("processor", f"{host.processor}, {len(host.logical_cpus)} usable CPUs, {gib:.1f} GiB", "", good=None),
        *find_leasable(host, policies),
        *find_standing(EngineClient(home)),
        *_find_backends(home, host),
        *find_models(ModelStore(home.models)),
        *find_left_downloads(home.root),
        *find_meters(home, policies.power, datetime.now(UTC), host_root()),
        Finding(
            "home",
            str(home.root),
            "exists" if home.root.is_dir() else "does not exist; create it with: make setup",
            good=None,
        ),
    ]
    table = Table("", "subject", "found", "consequence")
    for column in table.columns:
        # A path or a command that is cut is of no use.
        column.overflow = "fold"
    marks = {True: "[green]ok[/]", False: "[red]no[/]", None: "-"}
    for finding in findings:
        table.add_row(marks[finding.good], finding.subject, finding.found, finding.follows)
    Console().print(table)
    can_execute = {finding.subject.split()[0] for finding in findings if finding.good}
    is_refused = any(finding.good is False and finding.subject in NEEDED for finding in findings)
    if is_refused or not {"container", "backend", "models"} <= can_execute:
        raise SystemExit(1)
