"""The program that speaks to the Hugging Face Hub, in a process of its own: it can be stopped at any moment.

It reads a JSON object, one line, from standard input and writes one to standard output. ``{"describe": {…}}`` holds
the arguments of ``HfApi.model_info``, and the answer is the repository. ``{"fetch": {…}}`` holds those of
``hf_hub_download``, which continues what an earlier process has begun; the answer is empty. A fetch ends when standard
input does, so that it never outlives who asked for it. ``{"fault": KIND}`` tells what went wrong: only the kind, since
the text may hold addresses with signatures.
"""

import json
import os
import sys
import threading
from typing import Any

__all__ = ["main"]


def _describe(arguments: dict[str, Any]) -> dict[str, Any]:
    from huggingface_hub import HfApi  # noqa: PLC0415 - an optional package

    info = HfApi().model_info(**arguments, files_metadata=True)
    card: Any = info.card_data
    lfs = {each.rfilename: each.lfs for each in info.siblings or ()}
    return {
        "commit": info.sha,
        "gated": info.gated,
        "card": card.to_dict() if card else {},
        "tags": info.tags or [],
        "files": {name: each and {"size_bytes": each.size, "sha256": each.sha256} for name, each in lfs.items()},
    }


def _fetch(arguments: dict[str, Any]) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 - an optional package

    threading.Thread(target=_end_with_asker, daemon=True).start()
    hf_hub_download(**arguments)
    return {}


def _end_with_asker() -> None:
    sys.stdin.read()
    # Nothing has to be tidied up: the library goes on with a file that is not whole.
    os._exit(1)


def main() -> None:
    """Do what is asked for."""
    ((task, arguments),) = json.loads(sys.stdin.readline()).items()
    try:
        answer = {"describe": _describe, "fetch": _fetch}[task](arguments)
    except Exception as error:  # noqa: BLE001 - the process's boundary
        answer = {"fault": type(error).__name__}
    # What the repository's author wrote may hold dates and the like.
    json.dump(answer, sys.stdout, default=str)


if __name__ == "__main__":
    main()
