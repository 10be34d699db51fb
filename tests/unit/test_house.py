"""The house keeps its order: narrow folders, short functions, a short README, plain words.

Import cycles and layers are import-linter's (`make check`); what is declared in pyproject.toml is deptry's.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("contracts", "supervisor", "runtime-image")
MODULES_MAX = 21
FUNCTION_LINES_MAX = 60
README_LINES_MAX = 120
README_WORDS_MAX = 900
DECODED_WORDS = re.compile(r"\b(whoever|whatever|mends?|mended|mending|anew)\b", re.IGNORECASE)
DECODED_WORDS_MAX = 9


def python_files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from (ROOT / folder).rglob("*.py")


def place(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_folder_is_wider_than_a_screen() -> None:
    counted: dict[str, int] = {}
    for path in python_files(*PRODUCT, "benchmarks"):
        # An empty file only marks a package; one that exports is a module to read.
        if path.stat().st_size:
            counted[place(path.parent)] = counted.get(place(path.parent), 0) + 1
    assert counted
    assert {folder: count for folder, count in counted.items() if count > MODULES_MAX} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = {}
    for path in python_files(*PRODUCT, "benchmarks"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long[f"{place(path)}:{node.name}"] = lines
    assert long == {}


def test_the_readme_is_read_in_five_minutes() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= README_LINES_MAX
    assert len(text.split()) <= README_WORDS_MAX


def test_product_code_uses_plain_words() -> None:
    found = [
        f"{place(path)}:{number}: {line.strip()}"
        for path in python_files(*PRODUCT)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for _ in DECODED_WORDS.finditer(line)
    ]
    assert len(found) <= DECODED_WORDS_MAX, "\n".join(found)
