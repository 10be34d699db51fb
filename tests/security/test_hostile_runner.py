"""A runner that misbehaves in every way it can: the supervisor names the reason, signs it, and goes on."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import docker
import pytest

from contracts.execution.metrics_record import MetricsRecord
from contracts.verify.record import verify_record
from contracts.wire.types import IsolationTier
from supervisor.adapters.home import Home
from supervisor.adapters.installation.image_record import record_path
from tests.fakes.run_requests import spec_request
from tests.integration.conftest import Api, make_home, serving
from tests.security.hostile.image import ABSENT_PROGRAM, hostile_images
from tests.security.hostile.table import MISBEHAVIOURS, Misbehaviour

pytestmark = pytest.mark.docker

MAX_TOKENS = 64
# Asked for one after the other until the runner has come as far as its row says before its time ran out.
HANGING_TIMEOUTS_S = (2, 10, 60)
OTHER_TIMEOUT_S = 120
# The longest prompt, of characters that six bytes stand for on their way.
LONG_PROMPT = "\1" * 131_072
# As many wait at once as the queue takes with room to spare.
AT_ONCE = 12
SUITE_TIMEOUT_S = 1800
POLL_S = 0.1
HONEST = Misbehaviour("the installed image", "none", "", None)
UNSTARTABLE = Misbehaviour(ABSENT_PROGRAM, "none", "", "sandbox_failed", "could not start")
PLAYED = (*MISBEHAVIOURS.values(), UNSTARTABLE, HONEST)
# Where gVisor's kernel answers otherwise: its limit on threads is larger, for its own count, and it may end at it; it
# spares the first process no signal; a call of x32's is one that no rule names.
IN_GVISOR: dict[str, tuple[str | None, str]] = {
    "bombs with threads": ("runner_failed", "status "),
    "sends itself every signal": ("runner_failed", "status 129"),
    "dies of SIGSYS": (None, ""),
    # Of a filter that the runner puts on, gVisor's kernel tells that it was put on, and not its program.
    "puts a lock on that allows everything": (None, ""),
    "puts a false lock over the true one": (None, ""),
}
# At its limit on threads gVisor's kernel may end too, with the status of a Go program that gets none; or their stacks
# reach the limit on memory before.
AT_THE_LIMIT = {
    "bombs with threads": ("memory_limit_exceeded", "memory"),
    "spins in every thread it gets": ("runner_failed", "status 2"),
}


@dataclass
class Played:
    """What came of all rows."""

    records: dict[str, MetricsRecord] = field(default_factory=dict)
    verdicts: set[str] = field(default_factory=set)
    health: dict[str, Any] = field(default_factory=dict)
    containers_left: list[str] = field(default_factory=list)


class Stage:
    """One supervisor, whose installation names a hostile image."""

    def __init__(self, api: Api, images: dict[str, str], max_watts: float, tier: IsolationTier) -> None:
        self._api = api
        self._tier = tier
        self._images = images
        self._max_watts = max_watts
        self._record_file = record_path(api.home.root, "cpu_avx2")
        self._installed = json.loads(self._record_file.read_text())
        self._room = asyncio.Semaphore(AT_ONCE)
        self.played = Played()

    async def play_all(self) -> None:
        """Execute all rows: at once those that one image plays, then those that have an image of their own."""
        own = [row for row in PLAYED if row is HONEST or row.name in self._images]
        self._install("")
        await asyncio.gather(*(self.play(row) for row in PLAYED if row not in own))
        for row in own:
            self._install(row.name)
            await self.play(row)

    def _install(self, name: str) -> None:
        image_id = self._images.get(name, self._installed["image_id"])
        self._record_file.write_text(json.dumps(self._installed | {"image_id": image_id}))

    async def play(self, row: Misbehaviour) -> None:
        """Execute a row, with more time where it had not come far enough."""
        async with self._room:
            for timeout_s in HANGING_TIMEOUTS_S if row.reason == "time_limit_exceeded" else (OTHER_TIMEOUT_S,):
                record = await self._execute(row, timeout_s)
                if _came_far_enough(row, record):
                    break
        self.played.records[row.name] = record

    async def _execute(self, row: Misbehaviour, timeout_s: int) -> MetricsRecord:
        context_tokens = next((size for size, each in MISBEHAVIOURS.items() if each is row), min(MISBEHAVIOURS))
        request = spec_request(prompt=LONG_PROMPT if row.long_prompt else "hello")
        request["execution"] |= {
            "context_tokens": context_tokens,
            "limits": {"max_tokens": MAX_TOKENS, "timeout_s": timeout_s, "max_watts": self._max_watts},
            "isolation": self._tier,
        }
        status, accepted = await self._api.post_run(request, Prefer="respond-async")
        assert status == 202, accepted
        while True:
            view = await self._api.get(f"/v1/runs/{accepted['execution_id']}")
            if view["record"]:
                break
            await asyncio.sleep(POLL_S)
        report = verify_record(await self._api.get_bytes(view["record"]), self._api.trust)
        assert report.record is not None
        self.played.verdicts.add(report.verdict)
        return report.record


def _came_far_enough(row: Misbehaviour, record: MetricsRecord) -> bool:
    if row.after == "prompt":
        return record.measurements is not None and record.measurements.tokens_prompt is not None
    return row.after is None or (record.sandbox is not None and record.sandbox.isolation is not None)


async def _play_all(
    home: Home, docker_host: str, images: dict[str, str], client: docker.APIClient, tier: IsolationTier
) -> Played:
    async with asyncio.timeout(SUITE_TIMEOUT_S), serving(home, docker_host) as api:
        stage = Stage(api, images, await api.least_watts(), tier)
        await stage.play_all()
        stage.played.health = await api.get("/healthz")
        mine = {"label": f"weos.instance={home.instance_id()}"}
    # Told to end, the supervisor waits for what it is still removing.
    stage.played.containers_left = [each["Id"] for each in client.containers(all=True, filters=mine)]
    return stage.played


@pytest.fixture(scope="module", params=get_args(IsolationTier))
def played(
    weos_home: Path, docker_host: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Played]:
    home = make_home(tmp_path_factory.mktemp("hostile") / "home", weos_home)
    (home.root / "images").unlink()
    shutil.copytree(weos_home / "images", home.root / "images")
    client = docker.APIClient(base_url=docker_host, timeout=120)
    installed = json.loads(record_path(weos_home, "cpu_avx2").read_text())
    with hostile_images(client, installed["image_id"], MISBEHAVIOURS) as images:
        yield asyncio.run(_play_all(home, docker_host, images, client, request.param))
    client.close()


@pytest.mark.parametrize("row", PLAYED, ids=lambda row: row.name)
def test_a_misbehaviour_ends_in_a_record_that_names_it(row: Misbehaviour, played: Played) -> None:
    record = played.records[row.name]
    reason, says = row.reason, row.says
    if record.plan.isolation == "gvisor":
        reason, says = IN_GVISOR.get(row.name, (reason, says))
        if record.reason is not None and record.reason.code != reason:
            reason, says = AT_THE_LIMIT.get(row.name, (reason, says))
    assert record.outcome == ("completed" if reason is None else "failed"), record.reason
    if reason is None:
        assert record.reason is None
    else:
        assert record.reason is not None
        assert (record.reason.code, says in record.reason.message) == (reason, True), record.reason
    assert _came_far_enough(row, record)


def test_every_record_is_genuine(played: Played) -> None:
    assert played.verdicts == {"VALID"}


def test_the_supervisor_is_well_afterwards_and_leaves_no_container(played: Played) -> None:
    assert played.health == {"status": "ok", "engine": "up", "unrecorded": 0}
    assert played.containers_left == []
