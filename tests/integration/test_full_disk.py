"""The disk under the ledger is full at one stage or another: what was accepted is recorded once there is room."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.verify.record import verify_record
from supervisor.adapters.home import Home
from tests.fakes.run_requests import spec_request
from tests.integration.conftest import Api, serving
from tests.integration.test_executions import LONG
from tests.integration.test_faults import WAIT_S, begin_long_run, supervisor_process, until_serving

pytestmark = pytest.mark.docker

DISK_BYTES = 4 << 20
# From "not even the start can be kept" to "all of it can"; a page of the ledger has 4 KiB.
ROOM_BYTES = (0, *(2**exponent for exponent in range(12, 19)))
POLL_S = 0.05


class Disk:
    """A small file system that a test can fill."""

    def __init__(self, mount_point: Path) -> None:
        self._filler = mount_point / "filler"

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Take all room but so much."""
        status = os.statvfs(self._filler.parent)
        taken = status.f_bavail * status.f_frsize - leave_bytes
        with self._filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, taken)

    def empty(self) -> None:
        """Give the room back."""
        self._filler.unlink(missing_ok=True)


@pytest.fixture
def disk(own_home: Home) -> Iterator[Disk]:
    mount_point = own_home.ledger.parent
    mount_point.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "tmpfs", mount_point], check=True)
    yield Disk(mount_point)
    subprocess.run(["umount", "--lazy", mount_point], check=True)


async def until_recorded(api: Api, execution_id: str) -> dict[str, Any]:
    view = await api.until(execution_id, "completed", "failed", "cancelled", "aborted")
    report = verify_record(await api.get_bytes(view["record"]), api.trust)
    assert report.verdict == "VALID"
    return view


async def until_ended(api: Api, execution_id: str) -> None:
    """Until its record is stored, or known to wait for room."""
    async with asyncio.timeout(WAIT_S):
        while not (await api.get(f"/v1/runs/{execution_id}")).get("record"):
            if (await api.get("/healthz"))["unrecorded"]:
                return
            await asyncio.sleep(POLL_S)


async def test_however_little_room_is_left_what_was_accepted_is_recorded(
    own_home: Home, docker_host: str, disk: Disk
) -> None:
    accepted = []
    async with serving(own_home, docker_host) as api:
        for room in ROOM_BYTES:
            disk.fill(leave_bytes=room)
            status, body = await api.post_run(spec_request(), Prefer="respond-async")
            if status == 202:
                accepted.append(body["execution_id"])
                await until_ended(api, body["execution_id"])
            else:
                assert (status, body["code"]) == (507, "storage_full")
            disk.empty()
        views = [await until_recorded(api, execution_id) for execution_id in accepted]
        assert [view["status"] for view in views] == ["completed"] * len(accepted)
        assert [run["execution_id"] for run in reversed((await api.get("/v1/runs"))["runs"])] == accepted
        assert 0 < len(accepted) < len(ROOM_BYTES)
        assert await api.get("/healthz") == {"status": "ok", "engine": "up", "unrecorded": 0}


async def test_a_record_that_finds_no_room_waits_for_it_and_says_so(
    own_home: Home, docker_host: str, disk: Disk
) -> None:
    async with serving(own_home, docker_host) as api:
        view = await api.started(LONG)
        disk.fill()
        async with api.session.delete(f"/v1/runs/{view['execution_id']}") as answer:
            problem = await answer.json(content_type=None)
        assert (answer.status, problem["code"], problem["execution_id"]) == (507, "storage_full", view["execution_id"])
        health = await api.get("/healthz")
        assert (health["status"], health["unrecorded"]) == ("degraded", 1)
        disk.empty()
        assert (await until_recorded(api, view["execution_id"]))["status"] == "cancelled"
        assert (await api.get("/healthz"))["status"] == "ok"


async def test_a_record_that_still_waited_at_a_kill_is_made_by_the_next_supervisor_that_has_room(
    own_home: Home, docker_host: str, disk: Disk
) -> None:
    with supervisor_process(own_home, docker_host) as process:
        execution_id, _ = await begin_long_run(await until_serving(own_home, process))
        disk.fill()
        process.send_signal(signal.SIGKILL)
        process.wait(WAIT_S)
    with supervisor_process(own_home, docker_host) as process:
        assert process.stdout is not None
        said = (await asyncio.to_thread(process.stdout.read)).decode()
        assert process.wait(WAIT_S) != 0
        assert "disk" in said
        assert "Traceback" not in said
    disk.empty()
    async with serving(own_home, docker_host) as api:
        assert api.listening.recovered == 1
        assert (await until_recorded(api, execution_id))["status"] == "aborted"
