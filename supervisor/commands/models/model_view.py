"""What a model file says of itself, and what running it takes: as values, as tables and as JSON."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from contracts.execution.execution_plan import ModelSignature
from supervisor.console.printable import printable
from supervisor.domain.models.model_header import GgufHeader
from supervisor.domain.planning.memory import size_memory
from supervisor.domain.policies.policy import AdmissionPolicy, SchedulerPolicy

__all__ = ["MemoryNeed", "ModelView", "describe_bytes", "memory_needs", "show_model"]

GIB = 2**30
MB, GB = 10**6, 10**9
UNKNOWN = "not said"
BITS_PER_BYTE = 8


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """The memory that a sandbox gets for a context."""

    context_tokens: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model file, installed or not."""

    shown_as: str
    """The name under which it is installed, or the file as its user named it."""
    is_installed: bool
    size_bytes: int
    sha256: str | None
    """None: the file was not hashed."""
    signature: ModelSignature | None
    parent: str | None
    """SHA-256 of the model that this one was quantized from; None: it was not made here."""
    header: GgufHeader
    memory: tuple[MemoryNeed, ...]
    """With the scheduler policy `default`."""
    leasable_bytes: int
    """Memory of this machine for all sandboxes together."""
    free_bytes: int
    """Room on the disk of the model store."""

    def as_json(self) -> dict[str, Any]:
        """Return the view as a JSON object."""
        header, about = self.header, self.header.description
        return {
            "shown_as": self.shown_as,
            "is_installed": self.is_installed,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "signature": None if self.signature is None else self.signature.model_dump(mode="json"),
            "parent": self.parent,
            "architecture": header.architecture,
            "quantization": header.quantization,
            "context_length": header.context_length,
            "chat_template": header.chat_template,
            "name": about.name,
            "author": about.author,
            "license": about.license,
            "license_link": about.license_link,
            "source": about.source,
            "description": about.description,
            "size_label": about.size_label,
            "tokenizer": about.tokenizer,
            "vocabulary_tokens": about.vocabulary_tokens,
            "parameters": about.parameters,
            "layers": about.layers,
            "embedding_length": about.embedding_length,
            "experts": about.experts,
            "experts_used": about.experts_used,
            "mixture": [each.model_dump(mode="json") for each in header.mixture],
            "memory": [
                {"context_tokens": need.context_tokens, "memory_bytes": need.memory_bytes} for need in self.memory
            ],
            "leasable_bytes": self.leasable_bytes,
            "free_bytes": self.free_bytes,
        }


def memory_needs(
    size_bytes: int, header: GgufHeader, admission: AdmissionPolicy, scheduler: SchedulerPolicy
) -> tuple[MemoryNeed, ...]:
    """Return the memory at the default and at the largest context; one entry where both are the same."""
    most = min(admission.limits.context_tokens_max, header.context_length)
    contexts = sorted({min(admission.limits.context_tokens_default, most), most})
    return tuple(
        MemoryNeed(context, size_memory(size_bytes, header.cache, context, scheduler, admission.memory))
        for context in contexts
    )


def describe_bytes(size_bytes: int) -> str:
    """Return a size as a person says it: in GB from one on, else in MB."""
    return f"{size_bytes / GB:.2f} GB" if size_bytes >= GB else f"{size_bytes / MB:.1f} MB"


def show_model(view: ModelView, console: Console) -> None:
    """Print four tables: what the author says, what was found, the types of weights, and what running it takes."""
    tables = (_said(view), _found(view), _mixture(view), _needs(view))
    console.print(Text(printable(view.shown_as), style="bold"), *tables, sep="\n")


def _pairs(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    table = Table(title, "")
    table.columns[0].no_wrap = True
    table.columns[1].overflow = "fold"
    for what, value in rows:
        # Text has no markup, and what a terminal would obey is written out.
        table.add_row(what, Text(printable(value)))
    return table


def _said(view: ModelView) -> Table:
    about = view.header.description
    said = {
        "name": about.name,
        "author": about.author,
        "licence": " ".join(filter(None, (about.license, about.license_link))),
        "source": about.source,
        "description": about.description,
    }
    return _pairs("its author says", ((what, text or UNKNOWN) for what, text in said.items()))


def _found(view: ModelView) -> Table:
    header, about = view.header, view.header.description
    bits = view.size_bytes * BITS_PER_BYTE / about.parameters
    experts = f", {about.experts} experts of which {about.experts_used} compute a token" if about.experts else ""
    signer = "nobody, as far as is known here" if view.signature is None else view.signature.signer
    found = {
        "architecture": header.architecture,
        "quantization": f"{header.quantization}, {bits:.2f} bits for each weight",
        "parameters": f"{about.parameters:,}",
        "layers": f"{about.layers}, {about.embedding_length} values wide{experts}",
        "context": f"{header.context_length} tokens",
        "tokenizer": f"{about.tokenizer}, {about.vocabulary_tokens} tokens",
        "chat template": header.chat_template or "none: it continues texts",
        "size": describe_bytes(view.size_bytes),
        "digest": view.sha256 or "not computed; --digest computes it",
        "signed by": signer,
    }
    if view.parent is not None:
        found["made from"] = view.parent
    return _pairs("the file has", found.items())


def _mixture(view: ModelView) -> Table:
    total = sum(each.elements for each in view.header.mixture)
    table = Table("type of weights", "weights", "share")
    for each in view.header.mixture:
        table.add_row(each.type, f"{each.elements:,}", f"{100 * each.elements / total:.2f} %")
    return table


def _needs(view: ModelView) -> Table:
    table = Table("needed for an execution", "memory", "this machine")
    for need in view.memory:
        fits = "fits" if need.memory_bytes <= view.leasable_bytes else "too little memory"
        leasable = f"{fits}: {view.leasable_bytes / GIB:.1f} GiB for sandboxes"
        table.add_row(f"context of {need.context_tokens} tokens", f"{need.memory_bytes / GIB:.2f} GiB", leasable)
    if not view.is_installed:
        fits = "fits" if view.size_bytes <= view.free_bytes else "too little room"
        free = f"{fits}: {describe_bytes(view.free_bytes)} free"
        table.add_row("disk, to install it", describe_bytes(view.size_bytes), free)
    return table
