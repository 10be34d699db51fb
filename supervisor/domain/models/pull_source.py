"""Where a model is pulled from, as its user writes it, and which of several files is meant. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from supervisor.domain.errors import EngineError

__all__ = [
    "FileSource",
    "HubSource",
    "PackageSource",
    "Source",
    "UrlSource",
    "choose_file",
    "default_name",
    "parse_source",
]

HUB_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
SUFFIX = ".gguf"
_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_HUB = re.compile(rf"hf:(?P<repo>{_WORD}/{_WORD})(@(?P<revision>[A-Za-z0-9._/-]{{1,128}}?))?(/(?P<file>.+))?")
_HUB_PAGE = re.compile(rf"/(?P<repo>{_WORD}/{_WORD})/(resolve|blob)/(?P<revision>[^/]{{1,128}})/(?P<file>.+)")
_SPLIT = re.compile(r"-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")
# A label of a quantization at the end of a file's name, as publishers write it: Q4_K_M, UD-Q4_K_XL, IQ3_M, BF16, MXFP4.
_LABEL = re.compile(r"[-._](ud-)?(i?q\d[a-z0-9_]*|bf16|fp?16|fp?32|tq\d_0|mxfp4(_moe)?)$")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9._-]+")
NAME_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class HubSource:
    """A file of a repository of the Hugging Face Hub."""

    repository: str
    revision: str | None
    """A branch, tag or commit; None: the main branch."""
    file: str | None
    """Path of the file in the repository; None: the user has not named it."""


@dataclass(frozen=True, slots=True)
class PackageSource:
    """A model that packages of the Python package index carry."""

    name: str


@dataclass(frozen=True, slots=True)
class UrlSource:
    """A file on a web server."""

    url: str

    @property
    def shown(self) -> str:
        """The address without what may be a secret: user, password and query."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()

    @property
    def file_name(self) -> str:
        """The last part of the address's path."""
        return unquote(urlsplit(self.url).path).rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file of this machine."""

    path: str


Source = HubSource | PackageSource | UrlSource | FileSource


def _refuse(detail: str) -> EngineError:
    return EngineError("source_unknown", detail)


def parse_source(text: str) -> Source:
    """Tell what kind of source a text names.

    Raises:
        EngineError: ``source_unknown``.
    """
    if text.startswith("pypi:"):
        return PackageSource(text.removeprefix("pypi:"))
    if text.startswith("hf:"):
        return _parse_hub(_HUB.fullmatch(text))
    if text.lower().startswith(("http://", "https://")):
        return _parse_url(text)
    scheme = re.match(r"([a-z][a-z0-9+.-]*)://", text)
    if scheme:
        raise _refuse(f"'{scheme[1]}' is no source of models; use hf:OWNER/REPO/FILE, pypi:NAME, https://… or a file")
    return FileSource(text)


def _parse_url(text: str) -> Source:
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError as error:
        raise _refuse(f"the address cannot be read: {error}") from error
    if not host:
        raise _refuse("the address names no server")
    page = _HUB_PAGE.fullmatch(unquote(parts.path)) if host in HUB_HOSTS else None
    return UrlSource(text) if page is None else _parse_hub(page)


def _parse_hub(match: re.Match[str] | None) -> HubSource:
    file = None if match is None else match["file"]
    if match is None or (file is not None and not _is_plain_path(file)):
        raise _refuse("a source on Hugging Face is written hf:OWNER/REPO/FILE, or hf:OWNER/REPO@REVISION/FILE")
    return HubSource(match["repo"], match["revision"], file)


def _is_plain_path(path: str) -> bool:
    return path.isprintable() and "\\" not in path and all(part not in {"", ".", ".."} for part in path.split("/"))


def choose_file(files: Sequence[str], wanted: str | None, quantization: str | None) -> str:
    """Return the file of a repository that is meant.

    Args:
        files: every file of the repository.
        wanted: the file that the user named; None: no file.
        quantization: the quantization that the user named; None: no quantization.

    Raises:
        EngineError: ``source_unknown``: there is no such file, several fit, or it is a part of a model.
    """
    models = [file for file in files if file.lower().endswith(SUFFIX)]
    if wanted is not None:
        found = [file for file in files if file == wanted]
    elif quantization is not None:
        found = [file for file in models if _label_of(file) == quantization.lower()]
    else:
        found = models
    if len(found) != 1:
        listed = ", ".join(models[:20]) + (" and more" if len(models) > 20 else "")  # noqa: PLR2004 - a screenful
        what = f"there is no file {wanted} there" if wanted else f"{len(found)} files fit" if models else "no file fits"
        raise _refuse(f"{what}; name one of its GGUF files: {listed or 'it has none'}")
    part = _SPLIT.search(found[0])
    if part is not None:
        detail = (
            f"{found[0]} is part {int(part['number'])} of {int(part['count'])}; get all parts, put them together with "
            "llama.cpp's `llama-gguf-split --merge`, and add the result with: weos-engine models add"
        )
        raise _refuse(detail)
    if not found[0].lower().endswith(SUFFIX):
        raise _refuse(f"{found[0]} is no GGUF file; name one of: {', '.join(models) or 'it has none'}")
    return found[0]


def _label_of(file: str) -> str | None:
    match = _LABEL.search(file.lower().removesuffix(SUFFIX))
    return None if match is None else match[2]


def default_name(file: str) -> str:
    """Return the name of a model after its file: in lower case, without the quantization at its end.

    Args:
        file: name of the file, or its path.

    Raises:
        EngineError: ``source_unknown``: no name can be made of it.
    """
    stem = file.rpartition("/")[2].lower().removesuffix(SUFFIX)
    name = _NOT_IN_NAMES.sub("-", _LABEL.sub("", stem)).lstrip("._-")[:NAME_CHARACTERS].rstrip("._-")
    if not name:
        raise _refuse(f"no name for the model can be made of {file!r}; give it one with --name")
    return name
