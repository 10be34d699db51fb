"""The unit of the supervisor for systemd, filled in from `deploy/systemd/weos-engine.service`."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from supervisor.domain.errors import SetupError

__all__ = ["NAME", "UNIT_DIRECTORY", "ServicePlaces", "find_places", "render_unit"]

NAME = "weos-engine.service"
UNIT_DIRECTORY = Path("/etc/systemd/system")
# In other characters systemd sees quotes, specifiers, escapes or the next word: systemd.syntax(7).
SAFE_PATH = re.compile(r"/[A-Za-z0-9/._+-]+")
PLACEHOLDER = re.compile(r"@([A-Z_]+)@")
SOCKET_ALONE = "PrivateNetwork=yes\nRestrictAddressFamilies=AF_UNIX\nIPAddressDeny=any"
ON_LOOPBACK = "RestrictAddressFamilies=AF_UNIX AF_INET\nIPAddressDeny=any\nIPAddressAllow=localhost"


@dataclass(frozen=True, slots=True)
class ServicePlaces:
    """The paths that a unit names."""

    home: Path
    source: Path
    python: Path
    read_only: tuple[Path, ...]
    """What the interpreter needs besides the system's own files."""


def find_places(home: Path, source: Path) -> ServicePlaces:
    """Return the places of this installation and of the interpreter that runs here."""
    read_only = dict.fromkeys((source, Path(sys.prefix), Path(sys.base_prefix)))
    return ServicePlaces(home, source, Path(sys.executable), tuple(read_only))


def render_unit(template: str, places: ServicePlaces, *, port: int | None, docker_host: str) -> str:
    """Return the unit as systemd reads it.

    Args:
        template: the text of `deploy/systemd/weos-engine.service`.
        places: what it names.
        port: on loopback; None means that the API is on the home's socket alone, and the service has no network.
        docker_host: the address of the container engine; a service looks for none and starts none.

    Raises:
        SetupError: ``path_unusable``, systemd would read a path as something else.
    """
    for path in (places.home, places.python, *places.read_only):
        if not SAFE_PATH.fullmatch(str(path)):
            message = (
                f"the unit cannot name {path}: systemd reads spaces and some characters as its own. Move it to a path "
                "of letters, digits and . _ + - /"
            )
            raise SetupError("path_unusable", message)
    if not SAFE_PATH.fullmatch(docker_host.removeprefix("unix://")):
        message = f"DOCKER_HOST is {docker_host}; the service can use a Unix socket only: unix:///path"
        raise SetupError("path_unusable", message)
    values = {
        "DOCKER_HOST": docker_host,
        "HOME": str(places.home),
        "LISTEN": "--socket-only" if port is None else f"--port {port}",
        "NETWORK": SOCKET_ALONE if port is None else ON_LOOPBACK,
        "PYTHON": str(places.python),
        "READ_ONLY": " ".join(map(str, places.read_only)),
        "SOURCE": str(places.source),
    }
    return PLACEHOLDER.sub(lambda found: values[found[1]], template)
