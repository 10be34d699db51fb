import json
from pathlib import Path

import pytest

from supervisor.domain.errors import SetupError
from supervisor.setup.host.container_engine_config import Runtime, add_runtime, describe_change, replace_config

RUNTIME = Runtime("weos-gvisor", "/usr/bin/runsc", ("--a", "--b"))
ENTRY = {"path": "/usr/bin/runsc", "runtimeArgs": ["--a", "--b"]}
FILE = Path("/etc/docker/daemon.json")


@pytest.mark.parametrize("text", [None, "", "  \n", "{}", '{"runtimes": {}}'])
def test_an_engine_without_runtimes_gets_the_one(text: str | None) -> None:
    assert json.loads(add_runtime(text, RUNTIME, FILE)) == {"runtimes": {"weos-gvisor": ENTRY}}


def test_whatever_else_is_configured_stays_as_it_is() -> None:
    config = {"debug": True, "runtimes": {"kata": {"path": "k"}, "weos-gvisor": {"path": "old"}}, "bip": "10.0.0.1/24"}
    changed = json.loads(add_runtime(json.dumps(config), RUNTIME, FILE))
    assert changed == config | {"runtimes": {"kata": {"path": "k"}, "weos-gvisor": ENTRY}}
    assert list(changed) == list(config)


@pytest.mark.parametrize("text", ["{", "[]", '"x"', '{"runtimes": []}'])
def test_a_configuration_that_is_none_is_not_touched(text: str) -> None:
    with pytest.raises(SetupError, match=str(FILE)) as caught:
        add_runtime(text, RUNTIME, FILE)
    assert caught.value.code == "engine_config_unsound"


def test_the_change_is_told_line_by_line() -> None:
    old = '{\n    "debug": true\n}\n'
    change = describe_change(old, add_runtime(old, RUNTIME, FILE), FILE).splitlines()
    assert change[:2] == ["--- /etc/docker/daemon.json (now)", "+++ /etc/docker/daemon.json (then)"]
    assert '+            "path": "/usr/bin/runsc",' in change
    assert not any(line.startswith("-") and "debug" in line and not line.endswith('"debug": true') for line in change)


def test_what_was_there_is_kept_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    path.write_text("old")
    path.chmod(0o640)
    kept = replace_config(path, "new")
    assert kept is not None
    assert (path.read_text(), kept.read_text()) == ("new", "old")
    assert (path.stat().st_mode & 0o777, kept.stat().st_mode & 0o777) == (0o640, 0o640)
    assert sorted(tmp_path.iterdir()) == sorted([path, kept])


def test_where_nothing_was_there_is_nothing_to_keep(tmp_path: Path) -> None:
    path = tmp_path / "docker" / "daemon.json"
    assert replace_config(path, "new") is None
    assert path.read_text() == "new"
