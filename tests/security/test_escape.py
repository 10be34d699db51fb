"""The escape suite as a command: every attack in every tier, in real containers; what loosened rules let through."""

import fcntl
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, get_args

import docker
import pytest

from contracts.execution.escape_report import EscapeReport
from contracts.wire.types import IsolationTier
from supervisor.adapters.home import Home
from supervisor.adapters.installation.escape_reports import EscapeReports
from supervisor.commands.escape import read_installation, run_escape
from supervisor.domain.errors import EngineError, Refusal
from supervisor.domain.planning.installation import Installation
from supervisor.domain.policies.seccomp_profile import SeccompRule
from supervisor.escape import lock_two
from supervisor.escape.attack import Attack
from supervisor.escape.catalogue import Planned, plan_attempts
from supervisor.escape.cell import Cell
from supervisor.escape.container_engine_facts import read_container_engine_facts
from supervisor.escape.target import LABEL
from supervisor.escape.task import Numbered, observe
from tests import gvisor_tier
from tests.integration.conftest import make_home

pytestmark = pytest.mark.docker

TIERS: tuple[IsolationTier, ...] = get_args(IsolationTier)
COMMAND_TIMEOUT_S = 600
ENVIRONMENT = ("PATH=/usr/bin",)
SOCKETPAIR = SeccompRule(comment="loosened", names=("socketpair",), action="SCMP_ACT_ALLOW")
NEEDS_ANOTHER_LOCK_LATER = [attack for table in lock_two.CALLS.values() for attack in table if attack.without != "any"]


@pytest.fixture(scope="session")
def escape_home(tmp_path_factory: pytest.TempPathFactory, weos_home: Path) -> Home:
    return make_home(tmp_path_factory.mktemp("escape") / "home", weos_home)


def doctor(home: Home, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "supervisor", "doctor", *arguments],
        env={**os.environ, "WEOS_HOME": str(home.root), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )


@pytest.fixture(scope="session")
def reports(escape_home: Home) -> dict[str, EscapeReport]:
    """What the command says of every tier of the backend that set-up installs; gvisor only where it can be tried."""
    tiers = TIERS if gvisor_tier.find_obstacle() is None else ("hardened",)
    ended = doctor(escape_home, "--escape", "--json", *(f"--tier={tier}" for tier in tiers))
    found = [EscapeReport.parse(line.encode("utf-8")) for line in ended.stdout.splitlines()]
    failed = [each.model_dump() for report in found for each in report.failures]
    assert (ended.returncode, failed) == (0, []), ended.stderr[-2000:]
    return {report.isolation: report for report in found if report.backend == "cpu_avx2"}


@pytest.mark.parametrize("tier", TIERS)
def test_every_attack_is_tried_and_none_gets_through(tier: IsolationTier, reports: dict[str, EscapeReport]) -> None:
    report = reports[tier]
    tried = [(each.group, each.name, each.moment) for each in report.attempts]
    planned = [(each.group, each.attack.name, each.moment) for each in plan_attempts(tier)]
    assert tried[: len(planned)] == planned
    assert [attempt.name for attempt in report.failures] == []


@pytest.mark.parametrize("planned", plan_attempts("hardened"), ids=lambda each: f"{each.attack.name}, {each.moment}")
def test_an_attack_is_held_back(planned: Planned, reports: dict[str, EscapeReport]) -> None:
    for tier, report in reports.items():
        (attempt,) = [
            each for each in report.attempts if (each.name, each.moment) == (planned.attack.name, planned.moment)
        ]
        assert attempt.verdict in {"blocked", "open"}, tier
        assert (attempt.note is not None) == (attempt.verdict == "open"), tier


@pytest.mark.parametrize("tier", TIERS)
def test_exactly_the_calls_of_the_policies_pass_the_locks(
    tier: IsolationTier, reports: dict[str, EscapeReport], hardened: Cell
) -> None:
    before, after = hardened.policies.seccomp.allowed, hardened.policies.lockdown.allowed
    report = reports[tier]
    if tier == "hardened":
        assert set(report.calls_before) == before
        assert set(report.calls_after) == after
    else:
        # Some of them gVisor's kernel does not have.
        assert set(report.calls_before) <= before
        assert set(report.calls_after) <= after


@pytest.mark.parametrize("tier", TIERS)
def test_the_report_is_stored_as_it_was_told(
    tier: IsolationTier, reports: dict[str, EscapeReport], escape_home: Home
) -> None:
    assert EscapeReports(escape_home.escape).read(tier, "cpu_avx2") == reports[tier]


def quick_rows(tier: IsolationTier) -> tuple[Planned, ...]:
    """All that is answered under lock one, and a few that end their process: seconds instead of a minute."""
    planned = plan_attempts(tier)
    ending = [each for each in planned if each.moment == "lock_two"][:8]
    return tuple(each for each in planned if each.moment == "lock_one" or each in ending)


def test_the_same_installation_gives_the_same_report(
    reports: dict[str, EscapeReport], tmp_path: Path, weos_home: Path
) -> None:
    home = make_home(tmp_path / "home", weos_home)
    assert run_escape(home, read_installation(home), ["hardened"], as_json=True, plan=quick_rows) == 0
    again = EscapeReports(home.escape).read("hardened", "cpu_avx2")
    assert again is not None
    names = {(each.name, each.moment) for each in again.attempts}
    part = tuple(each for each in reports["hardened"].attempts if (each.name, each.moment) in names)
    first = reports["hardened"].model_copy(update={"attempts": part})
    assert again.canonical_digest() == first.canonical_digest()


def rows(*names: str) -> Callable[[IsolationTier], tuple[Planned, ...]]:
    return lambda tier: tuple(
        each for each in plan_attempts(tier) if each.attack.name in names and each.moment == "lock_one"
    )


def test_a_loosened_rule_fails_the_command_and_the_table_says_so(
    tmp_path: Path, weos_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = make_home(tmp_path / "home", weos_home)
    installation = read_installation(home)
    seccomp = installation.policies.seccomp
    seccomp = seccomp.model_copy(update={"syscalls": (*seccomp.syscalls, SOCKETPAIR)})
    installation = replace(installation, policies=replace(installation.policies, seccomp=seccomp))
    status = run_escape(home, installation, ["hardened"], as_json=False, plan=rows("socketpair", "connect"))
    assert status == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "socketpair" in line] == ["ALLOWED"]
    assert [line.split()[0] for line in lines if "connect" in line] == ["blocked"]
    assert any("1 allowed, 0 unexpected" in line for line in lines)


class LoosenedCell(Cell):
    """The container of an execution but for some settings; what the attacker is told of the policies is unchanged."""

    settings: ClassVar[dict[str, Any]] = {}

    def config(self) -> dict[str, Any]:
        config = super().config()
        config["HostConfig"] |= self.settings
        return config


def loosened(cell: Cell, **settings: Any) -> Cell:
    kind = type("Loosened", (LoosenedCell,), {"settings": settings})
    made: Cell = kind(cell.maker, cell.plan, cell.policies, cell.model_source, cell.cgroup_driver, labels=cell.labels)
    return made


def calling(name: str) -> Callable[[Cell], dict[str, Any]]:
    """Settings in which the filter lets one call pass, whatever its arguments."""

    def settings(cell: Cell) -> dict[str, Any]:
        rule = SeccompRule(comment="loosened", names=(name,), action="SCMP_ACT_ALLOW")
        profile = cell.policies.seccomp
        profile = profile.model_copy(update={"syscalls": (*profile.syscalls, rule)})
        return {"SecurityOpt": [*cell.policies.sandbox.security_options, profile.encode_option("hardened")]}

    return settings


def model_mounted_with(options: str) -> Callable[[Cell], dict[str, Any]]:
    def settings(cell: Cell) -> dict[str, Any]:
        (mount,) = cell.config()["HostConfig"]["Mounts"]
        driver = {"Name": "local", "Options": {"type": "none", "o": f"bind,{options}", "device": cell.model_source}}
        return {"Mounts": [mount | {"VolumeOptions": {"NoCopy": True, "DriverConfig": driver}}]}

    return settings


LOOSENED: dict[str, Callable[[Cell], dict[str, Any]]] = {
    "make written memory executable": calling("mprotect"),
    "map writable and executable": calling("mmap"),
    "open to read and write": calling("openat"),
    "clone of a user namespace": calling("clone"),
    "flock": calling("flock"),
    "record lock": calling("fcntl"),
    "count waiting input bytes": calling("ioctl"),
    "set a limit": calling("prlimit64"),
    "ptrace": calling("ptrace"),
    "filter with a listener": calling("seccomp"),
    "map the model executable": model_mounted_with("ro,nosuid,nodev"),
    "what the model's mount allows": model_mounted_with("ro,noexec"),
    "mounts that can be written": lambda _: {"ReadonlyRootfs": False},
    "capabilities": lambda _: {"CapDrop": []},
    "masked paths": lambda _: {"MaskedPaths": []},
    "facts about the machine in /proc": lambda _: {"MaskedPaths": ["/sys"]},
    "limits on files and core dumps": lambda _: {"Ulimits": []},
    "descriptor bomb": lambda _: {"Ulimits": []},
    "thread bomb": lambda _: {"PidsLimit": 1000},
    "memory bomb": lambda cell: dict.fromkeys(("Memory", "MemorySwap"), 2 * cell.plan.limits.memory_bytes),
}


@pytest.mark.parametrize("name", LOOSENED)
def test_without_its_rule_an_attack_is_not_held_back(hardened: Cell, name: str) -> None:
    (planned,) = rows(name)("hardened")
    numbered = Numbered(0, planned.attack)
    assert observe(hardened, ENVIRONMENT, [numbered], "one") == {0: planned.expected[0]}
    answer = observe(loosened(hardened, **LOOSENED[name](hardened)), ENVIRONMENT, [numbered], "one")[0]
    assert answer not in planned.expected
    assert planned.attack.without in {answer, "any"} or answer.startswith("allowed")


def test_without_the_second_lock_it_would_not_be_so(hardened: Cell) -> None:
    batch = [Numbered(index, attack) for index, attack in enumerate(NEEDS_ANOTHER_LOCK_LATER)]
    observed = observe(hardened, ENVIRONMENT, batch, "one")
    assert {batch[index].attack.name: answer for index, answer in observed.items()} == {
        attack.name: attack.without for attack in NEEDS_ANOTHER_LOCK_LATER
    }


def test_without_a_filter_nothing_is_attacked(hardened: Cell) -> None:
    unfiltered = loosened(hardened, SecurityOpt=["no-new-privileges:true", "seccomp=unconfined"])
    with pytest.raises(EngineError, match="nothing was attacked") as caught:
        observe(unfiltered, ENVIRONMENT, [Numbered(0, Attack("fork", "call('fork')"))], "one")
    assert caught.value.code == "escape_failed"


def test_a_program_that_cannot_begin_says_why(hardened: Cell) -> None:
    sandbox = hardened.policies.sandbox.model_copy(update={"model_file": "other.gguf"})
    elsewhere = replace(hardened, policies=replace(hardened.policies, sandbox=sandbox))
    with pytest.raises(EngineError, match=r"before its first attack .*No such file"):
        observe(elsewhere, ENVIRONMENT, [Numbered(0, Attack("fork", "call('fork')"))], "one")


def test_a_silent_and_a_flooding_container_are_killed(hardened: Cell) -> None:
    labels = {"weos.test": secrets.token_hex(8)}
    hasty = replace(hardened, silence_s=1, labels=labels)
    assert hasty.run("import time; time.sleep(600)").reason == "killed"
    assert hasty.run("import os\nwhile True: os.write(1, bytes(1 << 16))").reason == "killed"
    assert hasty.run("raise SystemExit(7)").reason == "status 7"
    named = [f"{key}={value}" for key, value in labels.items()]
    assert hardened.client.containers(all=True, filters={"label": named}) == []


def test_a_limit_that_the_engine_drops_is_told(hardened: Cell) -> None:
    with pytest.raises(EngineError) as caught:
        # A kernel without weights of block devices, like this one: the container engine warns that it discards them.
        hardened.run("pass", BlkioWeight=500)
    assert caught.value.code == "limit_unenforceable"


def test_a_warning_about_no_limit_stops_nothing(hardened: Cell) -> None:
    # The container engine warns that this option will be removed, and keeps it.
    hardened.run("pass", KernelMemory=1 << 25)


def with_isolation(installation: Installation, **fields: Any) -> Installation:
    sandbox = installation.policies.sandbox
    sandbox = sandbox.model_copy(update={"isolation": sandbox.isolation.model_copy(update=fields)})
    return replace(installation, policies=replace(installation.policies, sandbox=sandbox))


def without_gvisor(installation: Installation) -> Installation:
    gvisor = installation.policies.sandbox.isolation.gvisor.model_copy(update={"runtime": "no-such-runtime"})
    return with_isolation(installation, gvisor=gvisor)


def test_a_tier_that_is_not_there_is_named_and_is_an_error_when_asked_for(
    own_home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    installation = without_gvisor(read_installation(own_home))
    assert run_escape(own_home, installation, [], as_json=True, plan=rows("fork")) == 0
    assert "cpu_avx2 gvisor: not tried: the container engine has no runtime" in capsys.readouterr().err
    with pytest.raises(Refusal) as caught:
        run_escape(own_home, installation, ["gvisor"], as_json=True, plan=rows("fork"))
    assert caught.value.code == "isolation_unavailable"


def test_nothing_tried_is_an_error(own_home: Home) -> None:
    backends = {backend.name: "gvisor" for backend in read_installation(own_home).backends}
    installation = with_isolation(without_gvisor(read_installation(own_home)), backends=backends)
    with pytest.raises(EngineError, match="no sandbox was tried"):
        run_escape(own_home, installation, [], as_json=True, plan=rows("fork"))


def test_a_suite_leaves_no_container_not_even_one_that_was_killed(own_home: Home, hardened: Cell) -> None:
    labels = {LABEL: own_home.instance_id()}
    left = replace(hardened, labels=labels).create("pass", {})
    assert run_escape(own_home, read_installation(own_home), ["hardened"], as_json=True, plan=rows("fork")) == 0
    assert hardened.client.containers(all=True, filters={"label": f"{LABEL}={own_home.instance_id()}"}) == []
    with pytest.raises(docker.errors.NotFound):
        hardened.client.inspect_container(left)


def test_a_runtime_that_does_not_say_its_version_is_told(hardened: Cell) -> None:
    with pytest.raises(EngineError, match="does not report its version"):
        read_container_engine_facts(hardened.client, "no-such-runtime", "/bin/false")


def test_without_an_engine_nothing_is_tried(own_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/engine.sock")
    ended = doctor(own_home, "--escape")
    assert (ended.returncode, ended.stderr.split(":")[0]) == (1, "engine_unavailable")


def test_two_suites_do_not_run_on_one_home(escape_home: Home) -> None:
    escape_home.escape.mkdir(exist_ok=True)
    with (escape_home.escape / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = doctor(escape_home, "--escape")
    assert (ended.returncode, ended.stderr.split(":")[0]) == (1, "home_taken")


def test_options_of_the_suite_need_the_suite(escape_home: Home) -> None:
    ended = doctor(escape_home, "--json")
    assert ended.returncode == 2
    assert "--escape" in ended.stderr
