"""A user who is not root executes: the supervisor in a container, started as set-up starts it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from contracts.verify.bundle import verify_bundle
from contracts.verify.trust import Trust
from supervisor.adapters.home import Home
from supervisor.adapters.identity.engine_version import development_version
from supervisor.adapters.installation.model_claim import Claim
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.client.contained_supervisor import ContainedSupervisor, this_user
from supervisor.client.engine_client import EngineClient
from supervisor.composition import SOURCE_ROOT
from supervisor.domain.errors import EngineError
from supervisor.setup.host.supervisor_container import User
from supervisor.setup.images.supervisor_image import build_supervisor_image
from tests.fakes.run_requests import spec_request
from tests.integration.conftest import make_home
from tests.silent_progress import SilentProgress

pytestmark = pytest.mark.docker
# Nobody has this number; a test that runs as root becomes it, any other user stays itself.
USER_ID = 47_110
STOP_TIMEOUT_S = 60
IN_FOREGROUND = """
import sys
from pathlib import Path
from supervisor.adapters.home import Home
from supervisor.client.contained_supervisor import ContainedSupervisor
from supervisor.setup.host.supervisor_container import User
home, docker_host, image_id, user_id, *group_ids = sys.argv[1:]
user = User(int(user_id), tuple(map(int, group_ids)))
sys.exit(ContainedSupervisor(Home(Path(home)), docker_host, image_id, user).serve(["serve", "--port", "0"]))
"""


def install_demonstration(home: Home, installed: Path) -> None:
    """Copy images and model: only the home is in the container, so a link out of it would lead nowhere."""
    (home.root / "images").unlink()
    shutil.copytree(installed / "images", home.root / "images")
    for record in (home.root / "images").glob("*.json"):
        record.write_text(record.read_text().replace(str(installed), str(home.root)))
    (home.root / "models").unlink()
    theirs = ModelStore(installed / "models")
    request = spec_request()
    found = next(each for each in theirs.list() if each.name == request["model"])
    claim = Claim(found.quantization, found.architecture, found.sha256)
    ModelStore(home.models).add(found.name, theirs.path_of(found), claim, progress=lambda _: None, take=False)


@pytest.fixture
def user(docker_host: str) -> User:
    if os.geteuid() != 0:
        return this_user()
    return User(USER_ID, (USER_ID, Path(docker_host.removeprefix("unix://")).stat().st_gid))


@pytest.fixture
def contained(
    tmp_path: Path, weos_home: Path, docker_host: str, user: User, engine_client: docker.DockerClient
) -> Iterator[ContainedSupervisor]:
    home = make_home(tmp_path / "home", weos_home)
    install_demonstration(home, weos_home)
    os.chown(home.root, user.user_id, user.group_ids[0])
    image_id = build_supervisor_image(weos_home, SilentProgress(), docker_host)
    made = ContainedSupervisor(home, docker_host, image_id, user)
    yield made
    left = engine_client.containers.list(all=True, filters={"name": made.name})
    assert left == []
    sandboxes = engine_client.containers.list(all=True, filters={"label": f"weos.instance={home.instance_id()}"})
    for each in sandboxes:
        each.remove(force=True)
    assert sandboxes == []


def test_a_user_who_is_not_root_gets_a_valid_record_and_keeps_every_file(
    contained: ContainedSupervisor, tmp_path: Path, user: User
) -> None:
    home, log = contained.home, tmp_path / "log" / "supervisor.log"
    client = EngineClient(home)
    with contained.served(client, log):
        events = list(client.stream_run(spec_request()))
        assert events[-1].name == "done", events[-1]
        view = events[-1].document
        assert view["engine_version"] == development_version(SOURCE_ROOT)
        trust = Trust.parse(home.trust_file.read_bytes())
        assert verify_bundle(client.get_bytes(f"/v1/runs/{view['execution_id']}/bundle"), trust).verdict == "VALID"
        assert home.socket.stat().st_uid == user.user_id
        with pytest.raises(EngineError, match=f"docker stop {contained.name}") as caught, contained.served(client, log):
            pytest.fail("two supervisors have one home")
        assert caught.value.code == "home_taken"
    assert not client.is_serving()
    assert {path.stat().st_uid for path in (home.trust_file, home.ledger, *home.keys.iterdir())} == {user.user_id}
    told = log.read_text()
    assert "cannot be kept apart" not in told
    assert "may not be written" not in told


def test_it_serves_in_the_foreground_until_it_is_told_to_stop(contained: ContainedSupervisor, user: User) -> None:
    place = [str(contained.home.root), contained.docker_host, contained.image_id]
    numbers = [str(number) for number in (user.user_id, *user.group_ids)]
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", IN_FOREGROUND, *place, *numbers],
        cwd=SOURCE_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as serving:
        assert serving.stdout is not None
        lines = iter(serving.stdout.readline, "")
        said = next(line for line in lines if line.startswith("Stop with Ctrl-C"))
        assert said
        assert EngineClient(contained.home).is_serving()
        serving.send_signal(signal.SIGINT)
        _, complained = serving.communicate(timeout=STOP_TIMEOUT_S)
        assert (serving.returncode, complained) == (0, "")
    assert not EngineClient(contained.home).is_serving()


def test_a_supervisor_that_does_not_start_is_told_with_what_it_said(
    contained: ContainedSupervisor, tmp_path: Path
) -> None:
    (contained.home.root / "instance").write_text("0" * 32)
    (contained.home.root / "token").write_text("short\n")
    (contained.home.root / "token").chmod(0o600)

    def start() -> None:
        with contained.served(EngineClient(contained.home), tmp_path / "supervisor.log"):
            pytest.fail("it cannot have started")

    with pytest.raises(EngineError, match="holds no usable token"):
        start()
    assert "holds no usable token" in (tmp_path / "supervisor.log").read_text()
