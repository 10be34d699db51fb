import os
from pathlib import Path

import pytest

from supervisor.child import child_supervisor
from supervisor.client import EngineClient
from supervisor.domain.errors import EngineError
from supervisor.home import Home


def test_a_supervisor_that_does_not_start_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    environment = {**os.environ, "WEOS_HOME": str(home.root), "DOCKER_HOST": "unix:///nowhere.sock"}
    log = tmp_path / "log" / "supervisor.log"

    def start() -> None:
        with child_supervisor(EngineClient(home), log, environment):
            pytest.fail("it cannot have started")

    with pytest.raises(EngineError, match="engine_unreachable: DOCKER_HOST is") as caught:
        start()
    assert caught.value.code == "engine_unavailable"
