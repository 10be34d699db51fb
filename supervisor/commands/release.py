"""`weos-engine release`: engine versions, from the root key to revocation."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from contracts.releases.manifest import RootKeyring
from contracts.wire.keys import key_fingerprint, load_public_key
from contracts.wire.types import IsolationTier
from supervisor.adapters.home import Home, default_home
from supervisor.adapters.identity.keys import read_passphrase
from supervisor.adapters.identity.release_store import DEVELOPMENT, VERSION, ReleaseStore
from supervisor.adapters.installation.backends import default_source_root
from supervisor.adapters.kernel.host import read_host_facts
from supervisor.commands.release_view import show_release
from supervisor.commands.setup import DEMO_MODEL, DEMO_QUANTIZATION
from supervisor.commands.supervising import require_process
from supervisor.console.steps import ConsoleProgress
from supervisor.domain.errors import EngineError, Refusal
from supervisor.domain.planning.installation import Installation
from supervisor.domain.sandbox.isolation import require_registered
from supervisor.escape.target import runnable_backends
from supervisor.release.create import ReleaseOrder, create_release
from supervisor.release.escape_suite import InstalledEscapeSuite, read_candidate
from supervisor.release.inspect import inspect_release
from supervisor.release.revoke import RevocationOrder, revoke_release
from supervisor.release.root_directory import RootDirectory
from supervisor.release.trial import Trial
from supervisor.release.workload import WORKLOAD
from supervisor.setup.host.container_engine import ensure_container_engine
from supervisor.setup.host.gvisor import registered_runtimes

__all__ = ["command"]

ROOT_DIRECTORY = "WEOS_ROOT_DIR"
ROOT_PASSPHRASE = "WEOS_ROOT_PASSPHRASE"  # noqa: S105 - a name
MIN_PASSPHRASE_CHARACTERS = 12
AUTOMATIC = "automatic"


def _read_version(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not VERSION.fullmatch(value):
        message = f"{value} is not a version; a released version is three numbers, such as 0.1.0"
        raise click.BadParameter(message)
    return value


_version = click.argument("version", callback=_read_version)
_root_dir = click.option(
    "--root-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar=ROOT_DIRECTORY,
    required=True,
    show_envvar=True,
    help="Directory of the root key; outside of any home, best on a medium of its own.",
)
_passphrase_file = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    help=f"File (mode 0600) with the passphrase in its first line; default: {ROOT_PASSPHRASE}, then a prompt.",
)


def is_terminal() -> bool:
    """Return whether there is a person to ask."""
    return sys.stdin.isatty()


def _asker(file: Path | None, *, is_new: bool = False) -> Callable[[], bytes]:
    @cache
    def ask() -> bytes:
        if file is not None:
            passphrase = read_passphrase(file)
        elif os.environ.get(ROOT_PASSPHRASE):
            passphrase = os.environ[ROOT_PASSPHRASE].encode("utf-8")
        elif not is_terminal():
            # Without a terminal the passphrase could be echoed, or be read from other input.
            detail = f"there is no terminal to ask on; name a file with --passphrase-file, or set {ROOT_PASSPHRASE}"
            raise EngineError("passphrase_missing", detail)
        else:
            answer: str = click.prompt("Passphrase of the root key", hide_input=True, confirmation_prompt=is_new)
            passphrase = answer.encode("utf-8")
        if is_new and len(passphrase) < MIN_PASSPHRASE_CHARACTERS:
            detail = f"the passphrase of the root key needs at least {MIN_PASSPHRASE_CHARACTERS} characters"
            raise EngineError("passphrase_weak", detail)
        return passphrase

    return ask


def _now() -> datetime:
    return datetime.now(UTC)


def _open_home() -> Home:
    home = Home(default_home())
    home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    return home


def _tell_root(root_dir: Path, keyring: RootKeyring) -> None:
    key = next(key for key in keyring.keys if key.valid_until is None)
    click.echo(f"root keyring {keyring.version}, key {key_fingerprint(load_public_key(key.public_key))}")
    click.echo(f"keep {root_dir} offline; give {root_dir / 'trust.json'} to auditors over a channel that they trust")


@click.group(name="release")
def command() -> None:
    """Create, list, show, select and revoke engine versions."""


@command.command(name="init-root")
@_root_dir
@_passphrase_file
def init_root(root_dir: Path, passphrase_file: Path | None) -> None:
    """Create the root key and the first root keyring."""
    home = _open_home()
    place = root_dir.absolute()
    if place.resolve().is_relative_to(home.root.resolve()):
        raise EngineError(
            "root_inside_home", f"{place} is inside {home.root}, which the engine can read; choose another"
        )
    store, root = ReleaseStore(home.root), RootDirectory(place)
    if store.keyrings():
        raise EngineError(
            "root_exists", f"{home.root} already has a root; to replace its key: weos-engine release rotate-root"
        )
    keyring = root.create(_asker(passphrase_file, is_new=True)(), _now())
    store.add_keyrings(root.keyrings())
    _tell_root(place, keyring)


@command.command(name="rotate-root")
@_root_dir
@_passphrase_file
@click.option("--drop-old", is_flag=True, help="Stop trusting everything that the old key signed; for a stolen key.")
def rotate_root(root_dir: Path, passphrase_file: Path | None, drop_old: bool) -> None:
    """Replace the root key with a new one; the old key signs the change."""
    store, root = ReleaseStore(_open_home().root), RootDirectory(root_dir.absolute())
    root.keyring()
    store.require_root(root.keyrings())
    keyring = root.rotate(_asker(passphrase_file), _now(), drop_old=drop_old)
    store.add_keyrings(root.keyrings())
    _tell_root(root_dir, keyring)


def _read_tiers(docker_host: str, installation: Installation) -> dict[IsolationTier, str | None]:
    try:
        require_registered(installation.policies.sandbox.isolation.gvisor, registered_runtimes(docker_host))
    except Refusal as refusal:
        return {"hardened": None, "gvisor": refusal.detail}
    return {"hardened": None, "gvisor": None}


@command.command(name="create")
@_version
@_root_dir
@_passphrase_file
@click.option(
    "--backend",
    "backends",
    multiple=True,
    help="Only this backend, may be repeated; default: all whose image this machine can run.",
)
@click.option("--model", default=DEMO_MODEL, show_default=True, help="Installed model that the trial executes.")
@click.option("--quantization", default=DEMO_QUANTIZATION, show_default=True)
def create(
    version: str,
    root_dir: Path,
    passphrase_file: Path | None,
    backends: tuple[str, ...],
    model: str,
    quantization: str,
) -> None:
    """Test this installation and, where everything passes, release it as VERSION."""
    require_process("a release's trial")
    home, progress, source_root = _open_home(), ConsoleProgress(), default_source_root()
    docker_host = ensure_container_engine(home.root, progress)
    installation = read_candidate(home, source_root, version)
    chosen = backends or tuple(backend.name for backend in runnable_backends(installation))
    trial = Trial(
        home=home,
        source_root=source_root,
        docker_host=docker_host,
        backends=tuple(sorted(set(chosen))),
        tiers=_read_tiers(docker_host, installation),
        model=(model, quantization),
        workload=WORKLOAD,
        escape=InstalledEscapeSuite(home, docker_host, installation),
    )
    order = ReleaseOrder(
        version=version,
        trial=trial,
        root=RootDirectory(root_dir.absolute()),
        ask=_asker(passphrase_file),
        host=read_host_facts(),
        now=_now,
    )
    release = create_release(order, progress)
    click.echo(f"{version} is released: manifest {release.digest}")
    click.echo("This tree runs as that version from the next start, as long as it matches the manifest;")
    click.echo(f"to allow no other version: weos-engine release select {version}")


@dataclass(frozen=True, slots=True)
class _Row:
    engine_version: str
    created_at: str
    backends: tuple[str, ...]
    predecessor: str | None
    revoked_from: int | None
    manifest: str


def _read_row(store: ReleaseStore, version: str) -> _Row:
    release, revocation = store.manifest(version), store.revocation(version)
    before = release.manifest.predecessor
    return _Row(
        engine_version=version,
        created_at=release.manifest.created_at,
        backends=tuple(image.backend for image in release.manifest.images),
        predecessor=None if before is None else before.engine_version,
        revoked_from=None if revocation is None else revocation.from_index,
        manifest=release.digest,
    )


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_releases(as_json: bool) -> None:
    """List the released versions of this home."""
    store = ReleaseStore(_open_home().root)
    selected = store.selected() or AUTOMATIC
    rows = [_read_row(store, version) for version in store.versions()]
    if as_json:
        click.echo(json.dumps({"selected": selected, "releases": [asdict(row) for row in rows]}, indent=1))
        return
    table = Table("version", "created", "backends", "predecessor", "revoked", "manifest")
    for row in rows:
        revoked = "" if row.revoked_from is None else f"from index {row.revoked_from}"
        backends = ", ".join(row.backends)
        table.add_row(row.engine_version, row.created_at, backends, row.predecessor or "none", revoked, row.manifest)
    Console().print(table)
    click.echo(f"selected: {selected}")


@command.command(name="show")
@_version
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(version: str, as_json: bool) -> None:
    """Show the contents of VERSION, how it was tested, and how this installation differs from it."""
    facts = inspect_release(_open_home(), default_source_root(), version)
    if as_json:
        click.echo(facts.to_json())
    else:
        show_release(facts)


@command.command(name="select")
@click.argument("version")
def select(version: str) -> None:
    """Let this home run only as VERSION, or only as `development`; `automatic` decides by its content."""
    store = ReleaseStore(_open_home().root)
    if version not in {DEVELOPMENT, AUTOMATIC}:
        store.manifest(version)
    store.select(None if version == AUTOMATIC else version)
    click.echo(f"selected: {version}, from the next start")


@command.command(name="revoke")
@_version
@_root_dir
@_passphrase_file
@click.option("--reason", required=True, help="Reason, in words; it is public.")
@click.option(
    "--from-index",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Index of the ledger's first entry that is no longer valid; 0 means that no entry is.",
)
def revoke(version: str, root_dir: Path, passphrase_file: Path | None, reason: str, from_index: int) -> None:
    """Declare records of VERSION invalid from an index of the ledger on."""
    order = RevocationOrder(
        version=version,
        reason=reason,
        from_index=from_index,
        root=RootDirectory(root_dir.absolute()),
        ask=_asker(passphrase_file),
        now=_now,
    )
    revocation = revoke_release(ReleaseStore(_open_home().root), order)
    click.echo(f"{version} is revoked from ledger index {revocation.from_index} on; stop the engines that run it")
