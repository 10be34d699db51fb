"""Which way the supervisor runs here: as a process, or in a container where this user is not root."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from supervisor.adapters.home import Home
from supervisor.adapters.kernel.privilege import may_observe
from supervisor.client.child_supervisor import child_supervisor
from supervisor.client.contained_supervisor import ContainedSupervisor, this_user
from supervisor.client.engine_client import EngineClient
from supervisor.console.steps import ConsoleProgress, Progress
from supervisor.domain.errors import EngineError
from supervisor.setup.host.container_engine import ensure_container_engine
from supervisor.setup.host.supervisor_container import require_socket
from supervisor.setup.images.supervisor_image import build_supervisor_image

__all__ = ["contain", "own_supervisor", "require_process", "run_contained"]


def contain(home: Home, docker_host: str, progress: Progress) -> ContainedSupervisor | None:
    """Return the container for the supervisor, its image built where needed; None: it runs as a process.

    Raises:
        EngineError: ``supervisor_unplaceable``, or a SetupError of the image's build.
    """
    if may_observe():
        return None
    require_socket(docker_host)
    image_id = build_supervisor_image(home.root, progress, docker_host)
    return ContainedSupervisor(home, docker_host, image_id, this_user())


def run_contained(home: Home, arguments: Sequence[str]) -> None:
    """Run a command that observes sandboxes in a container, and end with its exit status; return where root runs it.

    Raises:
        EngineError: as `contain` says.
    """
    if may_observe():
        return
    progress = ConsoleProgress()
    contained = contain(home, ensure_container_engine(home.root, progress), progress)
    if contained is not None:
        raise SystemExit(contained.run(arguments))


def require_process(what: str) -> None:
    """Refuse what needs a supervisor that is a process of this user.

    Raises:
        EngineError: ``root_needed``.
    """
    if not may_observe():
        detail = f"{what} needs root: it starts supervisors as processes, which without root could observe no sandbox"
        raise EngineError("root_needed", detail)


@contextmanager
def own_supervisor(client: EngineClient, home: Home, contained: ContainedSupervisor | None) -> Iterator[None]:
    """Start a supervisor for the length of a block."""
    log = home.root / "log" / "supervisor.log"
    with child_supervisor(client, log) if contained is None else contained.served(client, log):
        yield
