"""`weos-engine audit consistency`: verify that a newer checkpoint of a ledger extends an older one."""

import http.client
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import click

from contracts.ledger.bundle import ConsistencyProof
from contracts.ledger.note import MAX_NOTE_BYTES, parse_note
from contracts.ledger.proof import Checkpoint
from contracts.verify.checks import CheckFailed
from contracts.verify.consistency import CONSISTENCY_CHECKS, roots_of_export, verify_consistency
from contracts.wire.errors import ContractError
from supervisor.commands.audit.export_file import read_export
from supervisor.commands.audit.files import TRUST_OPTION, read_bounded, read_trust
from supervisor.commands.audit.view import describe_checks, show_checks, show_json, show_verdict

__all__ = ["FILE", "URL_HELP", "command", "read_evidence", "read_note"]

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
TIMEOUT_S = 30.0
# Names the file with the bearer token for the engine's API.
TOKEN_FILE = "WEOS_TOKEN_FILE"  # noqa: S105 - a name
URL_HELP = f"URL of the engine's API, to fetch the proof from; its token is in the file named by {TOKEN_FILE}."
Evidence = bytes | Mapping[int, bytes] | None


def read_note(path: Path) -> bytes:
    """Return a checkpoint, or enough of the file to show that it is not one."""
    return read_bounded(path, MAX_NOTE_BYTES)


def _sizes(*notes: bytes) -> tuple[int, ...]:
    # Empty where a file is not a checkpoint; the verdict says so.
    try:
        return tuple(Checkpoint.of_note(parse_note(note)).size for note in notes)
    except ContractError:
        return ()


def _fetch(url: str, first: int, second: int) -> bytes:
    if not url.startswith(("http://", "https://")):
        message = "--url must begin with http:// or https://"
        raise click.UsageError(message)
    address = f"{url.rstrip('/')}/v1/ledger/consistency?from={first}&to={second}"
    token_file = os.environ.get(TOKEN_FILE)
    headers = {}
    if token_file:
        headers["Authorization"] = f"Bearer {Path(token_file).read_text(encoding='ascii').strip()}"
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 - http or https, as checked above
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - likewise
            return bytes(answer.read(ConsistencyProof.MAX_BYTES + 1))
    except urllib.error.HTTPError as error:
        with error:
            message = f"{address} gave no proof: it answered {error.code}"
        raise click.ClickException(message) from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
        message = f"{address} gave no proof: {error}"
        raise click.ClickException(message) from error


def read_evidence(older: bytes, newer: bytes, *, proof: Path | None, export: Path | None, url: str | None) -> Evidence:
    """Return the evidence that links two checkpoints: a proof, roots of an export's leaves, or nothing."""
    if sum(each is not None for each in (proof, export, url)) > 1:
        message = "give only one of --proof, --export and --url"
        raise click.UsageError(message)
    sizes = _sizes(older, newer)
    if proof is not None:
        return read_bounded(proof, ConsistencyProof.MAX_BYTES)
    if export is not None:
        try:
            return roots_of_export(read_export(export), set(sizes))
        except CheckFailed as failure:
            message = f"{export} is not an export: {failure.code}: {failure}"
            raise click.ClickException(message) from failure
    if url is not None and sizes and 0 < sizes[0] < sizes[1]:
        return _fetch(url, *sizes)
    return None


@click.command(name="consistency")
@click.argument("old", type=FILE)
@click.argument("new", type=FILE)
@TRUST_OPTION
@click.option("--proof", type=FILE, help="The JSON of GET /v1/ledger/consistency.")
@click.option("--export", type=FILE, help="An export of the ledger; both roots are computed from its leaves.")
@click.option("--url", help=URL_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    old: Path,
    new: Path,
    trust_file: Path,
    proof: Path | None,
    export: Path | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Verify that the signed checkpoint NEW extends OLD. Exit status 0 only for VALID."""
    older, newer = read_note(old), read_note(new)
    evidence = read_evidence(older, newer, proof=proof, export=export, url=url)
    verified = verify_consistency(older, newer, evidence, read_trust(trust_file))
    if as_json:
        show_json({"verdict": verified.verdict, "checks": describe_checks(verified.checks)})
    else:
        show_checks(verified.checks, CONSISTENCY_CHECKS)
        show_verdict(verified.verdict)
    if verified.verdict != "VALID":
        sys.exit(1)
