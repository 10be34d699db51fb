"""What is sent to Docker and to Podman, against a server that answers on a socket as they do."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

import docker
import pytest

from supervisor.adapters.docker.making import ContainerMaker
from supervisor.domain.errors import ExecutionFault
from supervisor.domain.sandbox.container_engine import describe_container_engine
from tests.unit.domain.sandbox.test_container_engine import DOCKER, INFO, PODMAN
from tests.unit.domain.sandbox.test_podman import INSPECTED, config


class Answers(BaseHTTPRequestHandler):
    """Answers what `replies` says, and notes what was asked."""

    replies: dict[str, tuple[int, Any]]
    asked: list[tuple[str, str, Any]]

    def _reply(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        path = self.path.partition("?")[0].removeprefix("/v1.41")
        self.asked.append((self.command, path, body))
        status, answer = self.replies.get(path, (204, None))
        data = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _reply  # noqa: N815 - names of the base class

    def log_message(self, *args: Any) -> None:
        del args


CREATED = {"Id": "c1", "Warnings": []}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[type[Answers]]:
    class Server(ThreadingUnixStreamServer):
        daemon_threads = True

        def get_request(self) -> tuple[Any, Any]:
            connection, _ = super().get_request()
            return connection, ("", 0)

    kind = type("Served", (Answers,), {"replies": {}, "asked": []})
    with Server(str(tmp_path / "s"), kind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield kind
        server.shutdown()
        thread.join()


@pytest.fixture
def client(tmp_path: Path, served: type[Answers]) -> Iterator[docker.APIClient]:
    del served
    client = docker.APIClient(base_url=f"unix://{tmp_path}/s", version="1.41")
    yield client
    client.close()


def maker(client: docker.APIClient, version: dict[str, Any], profiles: Path) -> ContainerMaker:
    return ContainerMaker(client, describe_container_engine(version, INFO), profiles / "profiles")


def test_docker_gets_the_body_as_it_is(served: type[Answers], client: docker.APIClient, tmp_path: Path) -> None:
    served.replies["/containers/create"] = (201, CREATED)
    assert maker(client, DOCKER, tmp_path).create(config(), "weos-1") == "c1"
    assert served.asked == [("POST", "/containers/create", config())]


def test_podman_gets_its_own_body_and_the_filter_as_a_file(
    served: type[Answers], client: docker.APIClient, tmp_path: Path
) -> None:
    served.replies["/v4.0.0/libpod/containers/create"] = (201, CREATED)
    made = maker(client, PODMAN, tmp_path)
    assert made.create(config(), "weos-1") == "c1"
    ((_, _, body),) = served.asked
    file = Path(body["seccomp_profile_path"])
    profile = config()["HostConfig"]["SecurityOpt"][-1].removeprefix("seccomp=")
    assert (body["name"], file.parent, file.read_text()) == ("weos-1", tmp_path / "profiles", profile)
    # Somebody has changed the file: the next sandbox has the policy's filter all the same.
    file.write_text("{}")
    made.create(config(), "weos-2")
    assert file.read_text() == profile


def test_podmans_refusal_is_an_answer_of_the_container_engine(
    served: type[Answers], client: docker.APIClient, tmp_path: Path
) -> None:
    served.replies["/v4.0.0/libpod/containers/create"] = (500, {"cause": "x", "message": "no such directory"})
    with pytest.raises(docker.errors.APIError) as caught:
        maker(client, PODMAN, tmp_path).create(config())
    assert caught.value.explanation == "no such directory"


def test_what_podman_cannot_be_asked_for_makes_no_container(
    served: type[Answers], client: docker.APIClient, tmp_path: Path
) -> None:
    with pytest.raises(ExecutionFault) as caught:
        maker(client, PODMAN, tmp_path).create(config(Privileged=True))
    assert (caught.value.code, served.asked) == ("isolation_unavailable", [])


def test_a_warning_about_a_limit_removes_the_container(
    served: type[Answers], client: docker.APIClient, tmp_path: Path
) -> None:
    warnings = ["Your kernel does not support swap limit capabilities"]
    served.replies["/containers/create"] = (201, {"Id": "c1", "Warnings": warnings})
    with pytest.raises(ExecutionFault) as caught:
        maker(client, DOCKER, tmp_path).create(config())
    assert (caught.value.code, warnings[0] in caught.value.detail) == ("limit_unenforceable", True)
    assert [(method, path) for method, path, _ in served.asked][-1] == ("DELETE", "/containers/c1")


def test_a_harmless_warning_makes_the_container(
    served: type[Answers], client: docker.APIClient, tmp_path: Path
) -> None:
    served.replies["/containers/create"] = (201, {"Id": "c1", "Warnings": ["platform (linux/amd64) does not match"]})
    assert maker(client, DOCKER, tmp_path).create(config()) == "c1"


def test_dockers_settings_are_its_own_and_podmans_are_the_kernels(
    served: type[Answers], client: docker.APIClient, tmp_path: Path
) -> None:
    inspected = {"HostConfig": {"Runtime": "runc"}, "State": {"Pid": 2**22 + 1}}
    assert maker(client, DOCKER, tmp_path).read_settings("c1", inspected) == {"Runtime": "runc"}
    served.replies["/v4.0.0/libpod/containers/c1/json"] = (200, INSPECTED)
    seen = maker(client, PODMAN, tmp_path).read_settings("c1", inspected)
    # No process has this number, so nothing is claimed of its namespaces.
    assert (seen["Runtime"], seen["IpcMode"], seen["CgroupnsMode"]) == ("runc", None, None)
