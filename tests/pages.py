"""The repository's pages as their tests need them: prose, code spans, fenced blocks, links, headings."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.places import REPOSITORY

__all__ = ["Block", "Page", "all_pages", "commands_of", "owned_pages", "read_page", "words_of"]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
# Of the pages that other tests read too, only links and names are held here.
OF_OTHERS = ("contracts/README.md", "contracts/BY-HAND.md")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    language: str
    text: str


@dataclass(frozen=True)
class Page:
    """One Markdown page: its path in the repository and its text."""

    path: str
    text: str

    @property
    def folder(self) -> Path:
        """The folder that its relative links begin at."""
        return (REPOSITORY / self.path).parent

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The fenced blocks, in order."""
        return tuple(Block(*found) for found in FENCE.findall(self.text))

    @cached_property
    def prose(self) -> str:
        """The text without its fenced blocks."""
        return FENCE.sub("", self.text)

    @cached_property
    def spans(self) -> tuple[str, ...]:
        """The code spans of the prose; in a table a pipe is escaped."""
        return tuple(span.replace("\\|", "|") for span in SPAN.findall(self.prose))

    @cached_property
    def links(self) -> tuple[str, ...]:
        """The targets of its links, in order."""
        return tuple(LINK.findall(self.prose))

    @cached_property
    def anchors(self) -> frozenset[str]:
        """The anchors of its headings, as GitHub makes them."""
        plain = (re.sub(r"[`*]", "", heading).strip().lower() for heading in HEADING.findall(self.prose))
        return frozenset(re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain)

    def in_code(self) -> Iterator[str]:
        """Yield every code span and every command of a shell block."""
        yield from self.spans
        for block in self.blocks:
            if block.language == "sh":
                yield from commands_of(block.text)


def commands_of(block: str) -> tuple[str, ...]:
    """Return the commands of a shell block, each on one line, without comments and what follows a pipe or `&`."""
    joined = block.replace("\\\n", " ")
    # A quoted JSON document may go over several lines.
    whole = re.sub(r"'[^']*'", lambda found: found.group().replace("\n", " "), joined)
    lines = (line.strip() for line in whole.splitlines())
    kept = (re.sub(r"\s+#\s.*$", "", line).removesuffix("&").strip() for line in lines if not line.startswith("#"))
    return tuple(line for line in kept if line)


def words_of(command: str) -> list[str]:
    """Return the words of a command or of its synopsis, without the brackets of optional parts."""
    return shlex.split(re.sub(r"[\[\]|…]", " ", command))


def read_page(path: str) -> Page:
    """Return a page of the repository."""
    return Page(path, (REPOSITORY / path).read_text(encoding="utf-8"))


def all_pages() -> tuple[Page, ...]:
    """Return every page that a reader is led to."""
    return (*owned_pages(), *map(read_page, OF_OTHERS))


def owned_pages() -> tuple[Page, ...]:
    """Return the pages that `test_documents.py` alone holds."""
    found = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("deploy/*.md")]
    paths = sorted(str(path.relative_to(REPOSITORY)) for path in (*found, REPOSITORY / "policies" / "README.md"))
    return tuple(map(read_page, paths))
