"""The documents: links, paths, commands, routes and examples in them exist and are as the code has them."""

import importlib.util
import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest

from contracts.api.openai.errors import OpenAiErrorAnswer
from contracts.api.problem import Problem
from contracts.api.responses import RunView
from contracts.execution.run_request import RunRequest
from supervisor import cli
from supervisor.setup.images.supervisor_image import TAG
from tests.pages import Page, all_pages, commands_of, owned_pages, read_page, words_of
from tests.places import REPOSITORY

PAGES = {page.path: page for page in all_pages()}
OWNED = [page.path for page in owned_pages()]
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
API = json.loads((REPOSITORY / "contracts" / "openapi.json").read_text(encoding="utf-8"))["paths"]
TOP_FOLDERS = {path.name for path in REPOSITORY.iterdir() if path.is_dir()} - {".git", "build", "dist"}
PATH = re.compile(r"[\w.-]+(/[\w.-]+)*/?")
ROUTE = re.compile(
    r"(?:^|\s)(?:(GET|POST|DELETE) )?(?:http://[\w.:]+)?(/(?:v1/|openai/|healthz|readyz|metrics|openapi\.json)[^\s`\"]*)"
)
README_LINES, README_WORDS, DECISION_LINES = 120, 900, 40
# Groups of commands that pages also name without the program's name before them.
GROUPS = {"audit", "ledger", "models", "power", "release"}
# Not checked here: who runs a page's blocks, or what a command starts with -> the test that runs it.
RUN_BY = {
    "contracts/README.md": "tests/contract/test_auditors_page.py",
    "contracts/BY-HAND.md": "tests/contract/test_by_hand.py",
    "docker run": "tests/integration/test_supervisor_image.py",
}
FORBIDDEN_WORDS = re.compile(r"\b(whoever|whatever|mend|mends|mended|anew|so many)\b", re.IGNORECASE)


def broken_links(page: Page) -> Iterator[str]:
    for link in page.links:
        if link.startswith(("https://", "http://")):
            continue
        target, _, anchor = link.partition("#")
        path = (page.folder / target).resolve() if target else REPOSITORY / page.path
        if not path.exists() or (anchor and anchor not in read_page(str(path.relative_to(REPOSITORY))).anchors):
            yield link


def missing_paths(page: Page) -> Iterator[str]:
    """Give the paths of the repository that are named and not there; places in `WEOS_HOME` are none."""
    for span in page.spans:
        if not PATH.fullmatch(span):
            continue
        first = span.split("/")[0]
        is_ours = "/" in span and (first in TOP_FOLDERS or (page.folder / first).is_dir())
        # A single name may also be a file of the reader's own; sources, pages and settings are not.
        is_ours = is_ours or (first == span and span.endswith((".py", ".md", ".toml")))
        if is_ours and not (REPOSITORY / span).exists() and not (page.folder / span).exists():
            yield span


def is_known_to_make(word: str) -> bool:
    variable, is_setting, _ = word.partition("=")
    if is_setting:
        return re.search(rf"\$\({variable}\)|^{variable} \?=", MAKEFILE, re.MULTILINE) is not None
    return word in TARGETS


def unknown_targets(page: Page) -> Iterator[str]:
    for code in page.in_code():
        words = shlex.split(code)[1:] if code.startswith("make ") else []
        if not all(is_known_to_make(word) for word in words):
            yield code


def misused(words: list[str]) -> str | None:
    """Return what of a command's words the command line does not know; words in capitals are arguments."""
    command: click.Command = cli._root
    options: set[str] = {"-h", "--help", "--version"}
    for word in words:
        if isinstance(command, click.Group) and not word.startswith("-"):
            if word.isupper():
                return None
            context = click.Context(command)
            if word not in command.list_commands(context):
                return word
            found = command.get_command(context, word)
            assert found is not None
            command = found
            options |= {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        elif word.startswith("--") and word.partition("=")[0] not in options:
            return word
    return None


def unknown_commands(page: Page) -> Iterator[str]:
    for code in page.in_code():
        words = words_of(code) if code.startswith(("weos-engine ", *(f"{group} " for group in GROUPS))) else []
        if words and misused(words[1:] if words[0] == "weos-engine" else words) is not None:
            yield code


def unknown_modules(page: Page) -> Iterator[str]:
    for code in page.in_code():
        for module in re.findall(r"\bpython3? -m ([\w.]+)", code):
            if importlib.util.find_spec(module) is None:
                yield module


def shape_of(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def unknown_routes(page: Page) -> Iterator[str]:
    known = {shape_of(path): operations for path, operations in API.items()}
    for code in page.in_code():
        for method, route in ROUTE.findall(code):
            path, _, query = route.partition("?")
            operations = known.get(shape_of(path))
            if operations is None or (method and method.lower() not in operations):
                yield code
                continue
            names = {each["name"] for each in operations.get("get", {}).get("parameters", ())}
            if set(re.findall(r"(\w+)=", query)) - names:
                yield code


def unchecked_commands(page: Page) -> Iterator[str]:
    """Give the commands of shell blocks that no check here knows and no other test runs."""
    for block in page.blocks:
        for command in commands_of(block.text) if block.language == "sh" else ():
            is_checked = command.startswith(("weos-engine ", "make ", "curl ", "python -m ", *RUN_BY))
            is_install = command in {"pipx install .", "uv tool install ."}
            if not (is_checked or is_install or re.match(r"[A-Z_]+=", command)):
                yield command


CHECKS: dict[str, Callable[[Page], Iterator[str]]] = {
    "links": broken_links,
    "paths": missing_paths,
    "make targets": unknown_targets,
    "commands": unknown_commands,
    "modules": unknown_modules,
    "routes": unknown_routes,
}


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("check", CHECKS)
def test_what_a_page_names_is_there(path: str, check: str) -> None:
    assert list(CHECKS[check](PAGES[path])) == []


@pytest.mark.parametrize("path", [path for path in PAGES if path not in RUN_BY])
def test_every_command_of_a_shell_block_is_checked(path: str) -> None:
    assert list(unchecked_commands(PAGES[path])) == []


def test_what_is_run_elsewhere_is_run_by_a_test_that_is_there() -> None:
    assert [test for test in RUN_BY.values() if not (REPOSITORY / test).exists()] == []
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"]["weos-engine"] == "supervisor.cli:main"
    assert TAG in PAGES["docs/deploying.md"].text


@pytest.mark.parametrize(
    ("check", "text"),
    [
        ("links", "[a](docs/none.md)"),
        ("links", "[a](docs/api.md#none)"),
        ("links", "[a](#none)"),
        ("paths", "`supervisor/none.py`"),
        ("paths", "`none.py`"),
        ("make targets", "`make none`"),
        ("make targets", "```sh\nmake run NONE=1\n```"),
        ("commands", "`weos-engine none`"),
        ("commands", "`weos-engine doctor --none`"),
        ("commands", "`audit none`"),
        ("commands", "```sh\nweos-engine \\\n  none\n```"),
        ("modules", "`python -m benchmarks.none`"),
        ("routes", "`GET /v1/none`"),
        ("routes", "`DELETE /v1/runs`"),
        ("routes", "`GET /openai/v1/none`"),
        ("routes", "`GET /v1/ledger/range?none=1`"),
        ("routes", "```sh\ncurl http://localhost/v1/none\n```"),
    ],
)
def test_a_wrong_name_is_found(check: str, text: str) -> None:
    assert list(CHECKS[check](Page("page.md", f"# Heading\n\n{text}\n"))) != []


def test_an_unchecked_command_is_found() -> None:
    assert list(unchecked_commands(Page("page.md", "```sh\nmake run\nrm -rf x\n```\n"))) == ["rm -rf x"]


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in OWNED:
        for block in PAGES[path].blocks:
            if block.language == "json":
                yield path, json.loads(block.text)
            for body in re.findall(r"-d '(\{.*?\})'", block.text, re.DOTALL):
                yield path, json.loads(body)


def test_requests_of_the_pages_are_run_requests() -> None:
    requests = [document for _, document in documents() if {"messages", "prompt"} & set(document)]
    assert len(requests) >= 2
    for request in requests:
        RunRequest.parse(json.dumps(request).encode())


def test_answers_of_the_pages_are_answers_of_the_api() -> None:
    answers = [document for _, document in documents() if "metrics" in document]
    whole = next(answer for answer in answers if "status" in answer)
    assert len(answers) >= 2
    for answer in answers:
        # A part of an answer becomes whole with what another one has.
        filled = {**whole, **answer, "metrics": {**whole["metrics"], **answer["metrics"]}}
        RunView.parse(json.dumps(filled).encode())


def test_every_document_of_the_pages_is_of_a_kind_that_is_checked() -> None:
    for path, document in documents():
        if "code" in document:
            Problem.parse(json.dumps(document).encode())
        elif "error" in document:
            OpenAiErrorAnswer.parse(json.dumps(document).encode())
        else:
            assert {"messages", "metrics", "prompt"} & set(document), path


def test_the_readme_is_short() -> None:
    text = PAGES["README.md"].text
    assert len(text.splitlines()) <= README_LINES
    assert len(text.split()) <= README_WORDS


def test_the_index_names_every_page() -> None:
    named = set(PAGES["docs/README.md"].links)
    pages = {path.name for path in (REPOSITORY / "docs").glob("*.md")} - {"README.md"}
    assert pages - named == set()


def test_decisions_are_numbered_listed_and_short() -> None:
    files = sorted(path for path in (REPOSITORY / "docs" / "decisions").glob("0*.md"))
    assert [int(path.name[:4]) for path in files] == list(range(1, len(files) + 1))
    assert set(PAGES["docs/decisions/README.md"].links) == {path.name for path in files}
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) < DECISION_LINES, path.name
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Measurement", "Consequence"]


def test_the_folder_map_is_whole() -> None:
    page = PAGES["docs/architecture.md"].text
    modules = (path for top in ("contracts", "supervisor") for path in (REPOSITORY / top).rglob("*.py"))
    folders = {str(path.parent.relative_to(REPOSITORY)) for path in modules if path.name != "__init__.py"}
    assert {folder for folder in folders - {"supervisor"} if f"`{folder}/`" not in page} == set()


def test_each_step_of_a_request_names_a_function_of_its_module() -> None:
    steps = re.findall(r"^\| \d+ \| .* \| `([\w./-]+\.py)` \| `(\w+)` \|$", PAGES["docs/architecture.md"].text, re.M)
    assert len(steps) == 12
    for path, name in steps:
        source = (REPOSITORY / path).read_text(encoding="utf-8")
        assert re.search(rf"^ *(async )?def {name}\(", source, re.MULTILINE), (path, name)


@pytest.mark.parametrize("path", OWNED)
def test_a_page_keeps_to_plain_words(path: str) -> None:
    assert FORBIDDEN_WORDS.findall(PAGES[path].prose) == []
