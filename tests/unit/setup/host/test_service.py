import re
from pathlib import Path

import pytest

from supervisor.domain.errors import SetupError
from supervisor.setup.host.service import NAME, ServicePlaces, find_places, render_unit
from tests.places import REPOSITORY

TEMPLATE = (REPOSITORY / "deploy" / "systemd" / NAME).read_text(encoding="utf-8")
PLACES = ServicePlaces(Path("/srv/weos"), Path("/opt/weos"), Path("/opt/venv/bin/python"), (Path("/opt/weos"),))
DOCKER_HOST = "unix:///var/run/docker.sock"


def lines_of(unit: str) -> list[str]:
    return [line for line in unit.splitlines() if line and not line.startswith("#")]


def test_every_placeholder_is_filled_and_names_the_installation() -> None:
    unit = render_unit(TEMPLATE, PLACES, port=None, docker_host=DOCKER_HOST)
    assert re.findall(r"@[A-Z_]+@", unit) == []
    assert {
        "ExecStart=/opt/venv/bin/python -P -m supervisor serve --socket-only",
        f"Environment=WEOS_HOME=/srv/weos WEOS_NO_INSTALL=1 DOCKER_HOST={DOCKER_HOST}",
        "ReadWritePaths=/srv/weos",
        "BindReadOnlyPaths=/opt/weos",
    } <= set(lines_of(unit))


def test_without_a_port_the_service_has_no_network() -> None:
    lines = lines_of(render_unit(TEMPLATE, PLACES, port=None, docker_host=DOCKER_HOST))
    assert {"PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX", "IPAddressDeny=any"} <= set(lines)


def test_with_a_port_the_service_has_loopback_alone() -> None:
    lines = lines_of(render_unit(TEMPLATE, PLACES, port=8642, docker_host=DOCKER_HOST))
    assert {"IPAddressDeny=any", "IPAddressAllow=localhost", "RestrictAddressFamilies=AF_UNIX AF_INET"} <= set(lines)
    assert "PrivateNetwork=yes" not in lines
    assert "ExecStart=/opt/venv/bin/python -P -m supervisor serve --port 8642" in lines


@pytest.mark.parametrize("home", ["/srv/with space", "/srv/%h", '/srv/"', "/srv/$HOME", "/srv/é", "/srv/a:b"])
def test_a_path_that_systemd_reads_otherwise_is_refused(home: str) -> None:
    places = ServicePlaces(Path(home), PLACES.source, PLACES.python, PLACES.read_only)
    with pytest.raises(SetupError, match="the unit cannot name") as refused:
        render_unit(TEMPLATE, places, port=None, docker_host=DOCKER_HOST)
    assert refused.value.code == "path_unusable"


def test_a_container_engine_elsewhere_is_refused() -> None:
    with pytest.raises(SetupError, match="Unix socket only"):
        render_unit(TEMPLATE, PLACES, port=None, docker_host="tcp://192.0.2.1:2375")


def test_what_the_interpreter_needs_is_readable_in_the_service() -> None:
    places = find_places(Path("/srv/weos"), REPOSITORY)
    assert REPOSITORY in places.read_only
    assert any(places.python.is_relative_to(path) for path in places.read_only)
