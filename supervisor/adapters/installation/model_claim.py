"""What is said of a model file, and what the file itself says."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from contracts.execution.execution_plan import ModelSignature
from contracts.model_signing.verification import SignedModel
from contracts.wire.types import Digest, ModelName
from supervisor.adapters.installation.gguf_header import read_gguf_header
from supervisor.domain.errors import EngineError
from supervisor.domain.models.model_header import GgufHeader
from supervisor.domain.models.quantization import normal_quantization

__all__ = ["Claim", "judge_content", "judge_source", "require_name", "require_unchanged"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What is said of a file, and is held against it when it is installed; None: nothing is said."""

    quantization: str | None = None
    """Capitals do not matter."""
    architecture: str | None = None
    """Capitals do not matter."""
    sha256: Digest | None = None
    """Digest of the whole file."""
    signed: SignedModel | None = None
    """A signature that holds; the file must be one of those that it covers."""
    parent: Digest | None = None
    """The file that this one was quantized from; it is not verified, but kept."""


def require_name(name: str) -> None:
    """Require that a model can be installed under a name.

    Raises:
        EngineError: ``model_refused``.
    """
    try:
        TypeAdapter(ModelName).validate_python(name)
    except ValidationError as error:
        detail = (
            f"{name!r} is no name for a model: it has lower-case letters, digits, dots, dashes and underscores, "
            "at most 64, and begins with a letter or digit"
        )
        raise EngineError("model_refused", detail) from error


def judge_source(source: Path, claim: Claim) -> GgufHeader:
    """Read the head of a file, and hold it against what is said of the file.

    Raises:
        EngineError: ``model_refused``: the file cannot be run, or is not what it is said to be.
    """
    header = read_gguf_header(source)
    claims = (
        ("quantization", claim.quantization, header.quantization, normal_quantization),
        ("architecture", claim.architecture, header.architecture, str.lower),
    )
    for what, claimed, real, normal in claims:
        if claimed is not None and normal(claimed) != normal(real):
            raise EngineError("model_refused", f"{source.name} is refused: its {what} is {real}, not {claimed}")
    return header


def judge_content(source: Path, claim: Claim, sha256: Digest) -> ModelSignature | None:
    """Hold the digest of a file against what is said of it, and return the signature that covers the file.

    Raises:
        EngineError: ``digest_mismatch``.
        ModelSignatureError: the signature is of other files.
    """
    if claim.sha256 is not None and sha256 != claim.sha256:
        detail = f"{source} is not installed: its SHA-256 is {sha256}, not {claim.sha256}"
        raise EngineError("digest_mismatch", detail)
    return None if claim.signed is None else claim.signed.vouch_for(sha256)


def require_unchanged(copy: Path, header: GgufHeader, source: Path) -> None:
    """Require that a copy is what was judged: the copy is what will run, and the source may have changed meanwhile.

    Raises:
        EngineError: ``model_refused``.
    """
    try:
        is_same = read_gguf_header(copy) == header
    except EngineError:
        is_same = False
    if not is_same:
        raise EngineError("model_refused", f"{source} is refused: it changed while it was copied")
