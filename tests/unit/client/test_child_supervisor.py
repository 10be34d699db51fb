import os
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread

import pytest

from supervisor.adapters.files import LOG_MAX_BYTES
from supervisor.adapters.home import Home
from supervisor.adapters.unix_socket import listen_unix
from supervisor.client.child_supervisor import child_supervisor
from supervisor.client.engine_client import EngineClient
from supervisor.domain.errors import EngineError


class AnyAnswer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def foreign_supervisor(home: Home) -> Iterator[None]:
    home.socket.parent.mkdir(parents=True)
    with socketserver.UnixStreamServer("", AnyAnswer, bind_and_activate=False) as server:
        server.socket.close()
        server.socket = listen_unix(home.socket)
        serving = Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield
        server.shutdown()
        serving.join()


def test_a_supervisor_that_does_not_start_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    environment = {**os.environ, "WEOS_HOME": str(home.root), "DOCKER_HOST": "unix:///nowhere.sock"}
    log = tmp_path / "log" / "supervisor.log"
    log.parent.mkdir()
    log.write_bytes(b"\0" * LOG_MAX_BYTES)

    def start() -> None:
        with child_supervisor(EngineClient(home), log, environment):
            pytest.fail("it cannot have started")

    with pytest.raises(EngineError, match="engine_unreachable: DOCKER_HOST is") as caught:
        start()
    assert caught.value.code == "engine_unavailable"
    # The earlier one had grown too long to be written further.
    assert log.stat().st_size < LOG_MAX_BYTES == log.with_name("supervisor.log.1").stat().st_size


def test_a_supervisor_that_ended_is_told_with_its_status_and_no_line_of_an_earlier_one(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    environment = {**os.environ, "WEOS_HOME": str(home.root), "DOCKER_HOST": "unix:///nowhere.sock"}
    log = tmp_path / "supervisor.log"
    log.write_text("an earlier supervisor\n")
    told = refusal_of_start(home, log, environment)
    assert "ended with status 1" in told
    assert "an earlier supervisor" not in told


def test_a_supervisor_that_takes_too_long_is_told_so_with_the_place_of_its_log(tmp_path: Path) -> None:
    home, log = Home(tmp_path / "home"), tmp_path / "supervisor.log"
    told = refusal_of_start(home, log, {**os.environ, "WEOS_HOME": str(home.root)}, start_timeout_s=0)
    assert told.startswith("the supervisor did not serve within 0 s and was ended")
    assert f"Its log is {log}. It wrote nothing." in told


def refusal_of_start(home: Home, log: Path, environment: dict[str, str], **options: float) -> str:
    with (
        pytest.raises(EngineError) as caught,
        child_supervisor(EngineClient(home), log, environment, **options),
    ):
        pytest.fail("it cannot have started")
    return caught.value.detail


def test_another_supervisor_of_the_same_home_is_not_taken_for_the_child(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    environment = {**os.environ, "WEOS_HOME": str(home.root), "DOCKER_HOST": "unix:///nowhere.sock"}

    def start() -> None:
        with child_supervisor(EngineClient(home), tmp_path / "supervisor.log", environment):
            pytest.fail("the child cannot have started")

    with foreign_supervisor(home):
        assert EngineClient(home).is_serving()
        with pytest.raises(EngineError, match="engine_unreachable: DOCKER_HOST is") as caught:
            start()
    assert caught.value.code == "engine_unavailable"


def test_who_serves_a_home_is_told_by_its_process(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    client = EngineClient(home)
    assert not client.is_served_by(os.getpid())
    with foreign_supervisor(home):
        assert client.is_served_by(os.getpid())
        assert not client.is_served_by(os.getppid())
