"""What every test may use: the installation under test, and values that stand for one."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from supervisor.adapters.home import Home, default_home
from supervisor.setup.host.container_engine import find_container_engine
from tests import gvisor_tier

# FUZZ_DEPTH=20 tries twenty times as much, and something else each time; without it every run tries the same.
FUZZ_DEPTH = int(os.environ.get("FUZZ_DEPTH", "1"))
# A deadline, or a check of slowness, would let the load of the machine decide a test.
settings.register_profile(
    "bounded",
    deadline=None,
    max_examples=100 * FUZZ_DEPTH,
    derandomize=FUZZ_DEPTH == 1,
    database=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example),
)
settings.load_profile("bounded")

# What CI sets: a tier that was not tried is then a failure.
REQUIRED = os.environ.get("WEOS_REQUIRE_GVISOR") == "1"


def pytest_configure() -> None:
    # A shell's background job ignores Ctrl-C, and the programs that tests start and interrupt would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    obstacle = gvisor_tier.find_obstacle() if gvisor_tier.needs_gvisor(item) else None
    if obstacle is not None:
        (pytest.fail if REQUIRED else pytest.skip)(obstacle)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    untried = gvisor_tier.count_untried(terminalreporter.stats.get("skipped", ()))
    if untried:
        told = f"{untried} tests skipped: {gvisor_tier.find_obstacle()}"
        terminalreporter.section("NOT TRIED", yellow=True, bold=True)
        terminalreporter.line(told)


@pytest.fixture(scope="session")
def weos_home() -> Path:
    """The prepared installation (`make setup`); tests read it and build images in it, nothing else."""
    return default_home()


@pytest.fixture(scope="session")
def docker_host() -> str:
    """The container engine. Its absence is a failure, not a skip: a sandbox that was not tried proves nothing."""
    host = find_container_engine()
    if host is None:
        pytest.fail("no container engine answers; run: make setup")
    return host


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home of the test's own."""
    root = tmp_path / "home"
    root.mkdir(mode=0o700)
    monkeypatch.setitem(os.environ, "WEOS_HOME", str(root))
    return Home(root)
