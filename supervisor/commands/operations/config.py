"""`weos-engine config`: what is in force here, and where each value comes from."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from contracts.api.responses import VersionView
from contracts.wire.types import Digest
from supervisor.adapters.home import Home, default_home
from supervisor.adapters.installation.backends import default_source_root
from supervisor.adapters.policies import load_policies
from supervisor.client.engine_client import EngineClient
from supervisor.commands.operations.settings import Setting, read_settings
from supervisor.domain.errors import EngineError
from supervisor.place import data_home
from supervisor.setup.host.container_engine import find_container_engine

__all__ = ["command"]


@dataclass(frozen=True, slots=True)
class _Policy:
    name: str
    path: str
    digest: Digest
    running_digest: Digest | None
    """What the running supervisor read at its start; None: none runs."""

    @property
    def standing(self) -> str:
        """How the file and the running supervisor stand to each other."""
        if self.running_digest is None:
            return "no supervisor runs"
        return "in force" if self.running_digest == self.digest else "changed; in force from the next start"


@click.group(name="config")
def command() -> None:
    """Show what is in force here."""


@command.command(name="show")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def show(as_json: bool) -> None:
    """Show home, settings and policies with their digests, and where each comes from; never a secret."""
    home, source = Home(default_home()), default_source_root()
    settings = read_settings(
        os.environ, home=home.root, data_home=data_home(), container_engine=find_container_engine()
    )
    running = _ask_version(home)
    policies = _read_policies(source / "policies", {} if running is None else running.policies)
    version = None if running is None else running.engine_version
    if as_json:
        document = {
            "home": str(home.root),
            "source": str(source),
            "running_version": version,
            "settings": [asdict(setting) for setting in settings],
            "policies": [asdict(policy) for policy in policies],
        }
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(f"home    {home.root}\nsource  {source}\nrunning {version or 'no supervisor of this home'}")
    _print_tables(settings, policies)


def _ask_version(home: Home) -> VersionView | None:
    if not home.socket.exists():
        return None
    try:
        return VersionView.parse(EngineClient(home).get_bytes("/v1/version"))
    except EngineError:
        return None


def _read_policies(directory: Path, running: Mapping[str, Digest]) -> list[_Policy]:
    digests = load_policies(directory).digests
    return [_Policy(name, str(directory / name), digest, running.get(name)) for name, digest in sorted(digests.items())]


def _print_tables(settings: Sequence[Setting], policies: Sequence[_Policy]) -> None:
    console = Console()
    table = Table("setting", "value", "from")
    for setting in settings:
        table.add_row(setting.name, setting.value or "", setting.origin)
    console.print(table)
    table = Table("policy", "digest", "standing")
    for policy in policies:
        table.add_row(policy.name, policy.digest, policy.standing)
    console.print(table)
