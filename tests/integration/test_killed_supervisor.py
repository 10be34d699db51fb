"""A supervisor killed with signal 9 at every point of a request: what was accepted has one record; nothing is left."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import requests

from contracts.execution.metrics_record import MetricsRecord
from contracts.verify.record import verify_record
from contracts.verify.trust import Trust
from supervisor.adapters.home import Home
from supervisor.client.engine_client import EngineClient
from supervisor.client.event_stream import parse_events
from tests.fakes.run_requests import spec_request
from tests.integration.conftest import make_home
from tests.integration.dying import POINTS
from tests.integration.test_executions import LONG
from tests.places import REPOSITORY

pytestmark = pytest.mark.docker

WAIT_S = 120
POLL_S = 0.02
# What the client had asked for was not accepted, or was recorded before the end; all else is aborted. A container is
# removed while the record is stored.
OUTCOMES = {"accepted": (), "record stored": ("completed",), "container removed": ("completed", "aborted")}


class Mortal:
    """One home, and the supervisors that live on it one after the other."""

    def __init__(self, home: Home, docker_host: str) -> None:
        self.home = home
        self._docker_host = docker_host
        self._client = docker.APIClient(base_url=docker_host)
        self._fuse = home.root / "fuse"
        self._process: subprocess.Popen[bytes] | None = None

    def live(self) -> None:
        """Have a supervisor that serves and will not die."""
        self._fuse.unlink(missing_ok=True)
        if self._process is None or self._process.poll() is not None:
            self._begin()
        client, deadline = EngineClient(self.home), time.monotonic() + WAIT_S
        while not self.home.address_file.exists() or not client.is_serving():
            assert self._process is not None
            assert self._process.poll() is None, self._process.returncode
            assert time.monotonic() < deadline
            time.sleep(POLL_S)

    def live_and_die(self, point: str) -> None:
        """Have a supervisor that dies of its own accord as it begins."""
        self._fuse.write_text(point)
        self._begin()
        self.until_dead()

    def _begin(self) -> None:
        environment = {**os.environ, "WEOS_HOME": str(self.home.root)}
        command = [sys.executable, "-m", "tests.integration.dying", self._docker_host, str(self._fuse)]
        self._process = subprocess.Popen(command, env=environment, cwd=REPOSITORY)

    def die_at(self, point: str) -> None:
        """Let the next request that comes to a point be the end."""
        self._fuse.write_text(point)

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)

    def until_dead(self) -> None:
        assert self._process is not None
        assert self._process.wait(WAIT_S) == -signal.SIGKILL

    def post(self, request: dict[str, Any], key: str | None = None, **headers: str) -> tuple[int, dict[str, Any]]:
        with self._posted(request, key, headers) as answer:
            return answer.status_code, answer.json()

    def stream(self, request: dict[str, Any], key: str) -> str | None:
        """Return the execution's id where the stream told it before it broke off."""
        told: str | None = None
        with (
            contextlib.suppress(requests.RequestException),
            self._posted(request, key, {"Accept": "text/event-stream"}) as answer,
        ):
            assert answer.status_code == 200, answer.text
            for event in parse_events(answer.iter_lines()):
                told = told or event.document["execution_id"]
        return told

    def get(self, path: str) -> Any:
        return EngineClient(self.home).get(path)

    def _posted(self, request: dict[str, Any], key: str | None, headers: dict[str, str]) -> requests.Response:
        url = json.loads(self.home.address_file.read_bytes())["url"]
        headers = {**headers, "Authorization": f"Bearer {self.home.token()}"}
        if key is not None:
            headers["Idempotency-Key"] = key.replace(" ", "-")
        return requests.post(f"{url}/v1/runs", json=request, headers=headers, timeout=WAIT_S, stream=True)

    def accepted(self) -> dict[str, bytes | None]:
        """Every accepted execution's envelope, from the ledger itself."""
        with contextlib.closing(sqlite3.connect(f"file:{self.home.ledger}?mode=ro", uri=True)) as ledger:
            rows = ledger.execute(
                "SELECT execution_id, records.envelope FROM executions LEFT JOIN records USING (execution_id)"
            )
            return dict(rows.fetchall())

    def record(self, execution_id: str) -> MetricsRecord:
        envelope = self.accepted()[execution_id]
        assert envelope is not None
        report = verify_record(envelope, Trust.parse(self.home.trust_file.read_bytes()))
        assert report.verdict == "VALID"
        assert report.record is not None
        return report.record

    def containers(self) -> list[str]:
        mine = {"label": f"weos.instance={self.home.instance_id()}"}
        return [container["Id"] for container in self._client.containers(all=True, filters=mine)]

    def end(self) -> None:
        self._client.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait(WAIT_S)


@pytest.fixture(scope="module")
def mortal(weos_home: Path, docker_host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    mortal = Mortal(make_home(tmp_path_factory.mktemp("mortal") / "home", weos_home), docker_host)
    yield mortal
    mortal.end()


def assert_nothing_is_lost(mortal: Mortal) -> None:
    assert [execution_id for execution_id, envelope in mortal.accepted().items() if envelope is None] == []
    # What has ended is removed beside everything else.
    deadline = time.monotonic() + WAIT_S
    while mortal.containers():
        assert time.monotonic() < deadline
        time.sleep(POLL_S)


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_point_loses_nothing_and_a_retry_gets_the_one_result(mortal: Mortal, point: str) -> None:
    mortal.live()
    before = set(mortal.accepted())
    mortal.die_at(point)
    told = mortal.stream(spec_request(), key=point)
    mortal.until_dead()
    mortal.live()
    new = set(mortal.accepted()) - before
    expected = OUTCOMES.get(point, ("aborted",))
    assert len(new) == (1 if expected else 0)
    assert told is None or new == {told}
    outcome = next((mortal.record(execution_id).outcome for execution_id in new), None)
    assert outcome is None or outcome in expected
    assert_nothing_is_lost(mortal)
    status, body = mortal.post(spec_request(), key=point)
    assert status == (409 if outcome == "aborted" else 200)
    assert not new or {body["execution_id"]} == new
    assert set(mortal.accepted()) - before == {body["execution_id"]}


def test_a_kill_while_executions_run_and_wait_loses_neither(mortal: Mortal) -> None:
    mortal.live()
    ids = [mortal.post(LONG, key=f"wait {n}", Prefer="respond-async")[1]["execution_id"] for n in range(3)]
    assert mortal.get(f"/v1/runs/{ids[2]}")["queue_position"] == 2
    mortal.kill()
    mortal.until_dead()
    mortal.live()
    assert [mortal.record(execution_id).outcome for execution_id in ids] == ["aborted"] * 3
    assert_nothing_is_lost(mortal)


@pytest.mark.parametrize("point", ["record built", "record stored"])
def test_a_kill_while_the_next_one_recovers_leaves_one_record(mortal: Mortal, point: str) -> None:
    mortal.live()
    ids = [mortal.post(LONG, key=f"{point} {n}", Prefer="respond-async")[1]["execution_id"] for n in range(2)]
    mortal.kill()
    mortal.until_dead()
    mortal.live_and_die(point)
    mortal.live()
    assert [mortal.record(execution_id).outcome for execution_id in ids] == ["aborted"] * 2
    assert_nothing_is_lost(mortal)
