"""The options that name a signature of a model file, and whose signature is accepted."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TypeVar

import click

from contracts.model_signing.certificates import MAX_AUTHORITIES_BYTES, TrustedAuthorities
from contracts.model_signing.documents import MAX_BUNDLE_BYTES
from contracts.model_signing.verification import SignedModel, TrustedKey, open_signature

__all__ = ["describe_signer", "read_signature", "signature_options"]

_T = TypeVar("_T")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OPTIONS = (
    click.option("--signature", type=_FILE, help="Signature of FILE by model-signing; --key or a chain says whose."),
    click.option("--key", type=_FILE, help="Accept the signature of this public key (PEM)."),
    click.option("--certificate-chain", type=_FILE, help="Accept a signer whom an authority in this file certified."),
    click.option("--identity", help="Accept only this signer of the authority, such as an email address."),
)


def signature_options(command: Callable[..., _T]) -> Callable[..., _T]:
    """Give a command the four options; it gets what they name as `signed`, verified, or None."""

    @wraps(command)
    def wrapper(
        *args: object,
        signature: Path | None,
        key: Path | None,
        certificate_chain: Path | None,
        identity: str | None,
        **kwargs: object,
    ) -> _T:
        signed = read_signature(signature, key, certificate_chain, identity)
        return command(*args, signed=signed, **kwargs)

    for option in reversed(_OPTIONS):
        option(wrapper)
    return wrapper


def read_signature(
    signature: Path | None, key: Path | None, certificate_chain: Path | None, identity: str | None
) -> SignedModel | None:
    """Verify the signature that the options name; None: they name none.

    Raises:
        click.UsageError: the options do not fit together.
        ModelSignatureError: the signature proves nothing.
    """
    if signature is None:
        if key is not None or certificate_chain is not None or identity is not None:
            message = "--key, --certificate-chain and --identity say whose signature is accepted; add --signature"
            raise click.UsageError(message)
        return None
    if (key is None) == (certificate_chain is None):
        message = "say whose signature is accepted: either --key or --certificate-chain"
        raise click.UsageError(message)
    if key is not None:
        if identity is not None:
            message = "--identity is a name in a certificate; a key has none"
            raise click.UsageError(message)
        return open_signature(_read(signature, MAX_BUNDLE_BYTES), TrustedKey.load(_read(key, MAX_AUTHORITIES_BYTES)))
    assert certificate_chain is not None  # noqa: S101 - exactly one of the two is there
    pem = _read(certificate_chain, MAX_AUTHORITIES_BYTES)
    trusted = TrustedAuthorities.load(pem, identity=identity, now=datetime.now(UTC))
    return open_signature(_read(signature, MAX_BUNDLE_BYTES), trusted)


def describe_signer(signer: str | None) -> str:
    """Return the signer of a model for a table: a key in short, a name as it is."""
    if signer is None:
        return "-"
    return f"key {signer[7:19]}…" if signer.startswith("sha256:") else signer


def _read(path: Path, maximum_bytes: int) -> bytes:
    if not path.is_file():
        raise click.UsageError(f"{path} is no regular file")
    with path.open("rb") as file:
        # With one byte more than is allowed, the parser refuses it as too large.
        return file.read(maximum_bytes + 1)
