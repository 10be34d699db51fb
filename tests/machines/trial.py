"""What is tried on a container engine: one execution whose record is verified, and the escape suite."""

import time
from dataclasses import dataclass

import docker

from contracts.verify.record import verify_record
from contracts.wire.types import IsolationTier
from supervisor.adapters.home import Home
from supervisor.commands.escape import read_installation
from supervisor.domain.sandbox.container_engine import describe_container_engine
from supervisor.escape.catalogue import plan_attempts
from supervisor.escape.suite import run_suite
from supervisor.escape.target import open_target, plan_of_target
from tests.fakes.run_requests import spec_request
from tests.integration.conftest import serving

__all__ = ["BACKEND", "Tried", "attack", "describe", "execute"]

BACKEND = "cpu_avx2"
TIER: IsolationTier = "hardened"


@dataclass(frozen=True, slots=True)
class Tried:
    """What was seen."""

    verdict: str
    start: str
    seconds: float


def describe(url: str) -> str:
    """Return name, version and runtime of a container engine, and the machine's control groups."""
    client = docker.APIClient(base_url=url)
    try:
        engine = describe_container_engine(client.version(), client.info())
    finally:
        client.close()
    return f"{engine.name} {engine.version}, {engine.default_runtime}, control groups {engine.cgroup_version}"


async def execute(home: Home, url: str) -> Tried:
    """Execute the specification's request and verify its record; no sandbox is made ahead."""
    async with serving(home, url) as api:
        started_s = time.monotonic()
        status, body = await api.post_run(spec_request())
        seconds = time.monotonic() - started_s
        if status != 200:
            return Tried(f"{body['code']}: {body['detail']}", "", seconds)
        report = verify_record(await api.get_bytes(body["record"]), api.trust)
        assert report.record is not None
        assert report.record.sandbox is not None
        isolation = report.record.sandbox.isolation
        assert isolation is not None
        assert (isolation.tier, isolation.difference, isolation.unobserved) == (TIER, (), ())
        return Tried(report.verdict, report.record.sandbox.start, seconds)


def attack(home: Home, url: str) -> tuple[dict[str, int], float]:
    """Run the escape suite of the tier `hardened`; return how many attacks ended how, and the seconds it took."""
    installation = read_installation(home)
    plan = plan_of_target(installation, BACKEND, TIER)
    started_s = time.monotonic()
    with open_target(home, url, plan, installation) as target:
        report = run_suite(target.cells, target.image_environment, target.facts, plan_attempts(TIER))
    counts = {"blocked": 0, "open": 0, "allowed": 0, "unexpected": 0}
    for attempt in report.attempts:
        counts[attempt.verdict] += 1
    return counts, time.monotonic() - started_s
