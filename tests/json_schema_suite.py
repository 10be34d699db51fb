"""JSON Schema's own test suite, out of the source archive of `jsonschema`, which is fetched once by its hash."""

import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from supervisor.adapters.files import digest_of_file

__all__ = ["DRAFTS", "Case", "fetch_suite", "read_cases"]

NAME = "jsonschema==4.26.0"
SHA256 = "0c26707e2efad8aa1bfc5b7ce170f3fccc2e4918ff85989ba9ffa9facb2be326"
FETCH_TIMEOUT_S = 300
# Folders of the suite, each with the name that a schema gives its draft.
DRAFTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}


class Case(NamedTuple):
    """One schema of the suite, and documents that are valid or not valid under it."""

    draft: str
    name: str
    schema: dict[str, Any]
    documents: list[tuple[Any, bool]]


def fetch_suite(home: Path) -> Path:
    """Return the archive, fetched into the home's cache if it is not there."""
    kept = home / "cache" / "archives" / SHA256
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            line = Path(folder) / "requirements.txt"
            line.write_text(f"{NAME} --hash=sha256:{SHA256}\n")
            command = [sys.executable, "-m", "pip", "download", "--require-hashes", "--no-deps", "--quiet"]
            command += ["--no-binary", "jsonschema", "--dest", folder, "-r", str(line)]
            subprocess.run(command, check=True, timeout=FETCH_TIMEOUT_S)
            (file,) = Path(folder).glob("*.tar.gz")
            file.replace(kept)
    assert digest_of_file(kept) == f"sha256:{SHA256}"
    return kept


def read_cases(archive: Path) -> Iterator[Case]:
    """Yield every schema of the drafts, the optional parts too; schemas that are true or false are left out."""
    with tarfile.open(archive) as tar:
        for member in tar:
            _, _, path = member.name.partition("/json/tests/")
            draft, _, name = path.partition("/")
            content = tar.extractfile(member) if draft in DRAFTS and name.endswith(".json") else None
            for group in json.load(content) if content else []:
                if isinstance(group["schema"], dict):
                    schema = {"$schema": DRAFTS[draft], **group["schema"]}
                    documents = [(test["data"], test["valid"]) for test in group["tests"]]
                    yield Case(draft, f"{name}: {group['description']}", schema, documents)
