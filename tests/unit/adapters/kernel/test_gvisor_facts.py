import json
import os
from typing import Any

import pytest

from supervisor.adapters.kernel.gvisor_facts import GvisorGuest, parse_guest
from supervisor.domain.sandbox.gvisor import GuestFacts

# The parts of runsc 0.0~20221219's answer that count.
PROCESS: dict[str, Any] = {
    "exe": "/usr/bin/python3.11",
    "env": ["LANG=C.UTF-8", "PATH=/usr/bin"],
    "clone_ts": 1795372952890332957,
    "limits": {"RLIMIT_NOFILE": {"cur": 64, "max": 64}},
    "status": {
        "uid": {"real": 65532, "effective": 65532, "saved": 65532},
        "gid": {"real": 65532, "effective": 65532, "saved": 65532},
    },
    "maps": [
        {"address": {"Start": 1, "End": 2}, "pathname": "/usr/bin/python3.11"},
        {"address": {"Start": 2, "End": 3}, "pathname": "[heap]"},
        {"address": {"Start": 3, "End": 4}},
        {"address": {"Start": 4, "End": 5}, "pathname": "/usr/bin/python3.11"},
    ],
}


def answer(*documents: Any) -> bytes:
    return b"PROCFS DUMP\n\n" + b"\n".join(json.dumps(each).encode() for each in documents) + b"\n"


@pytest.mark.parametrize("document", [PROCESS, [PROCESS]])
def test_the_runner_is_read_as_gvisor_describes_it(document: Any) -> None:
    assert parse_guest(answer(document)) == GuestFacts(
        user_ids=(65532,) * 3,
        group_ids=(65532,) * 3,
        environment=("LANG=C.UTF-8", "PATH=/usr/bin"),
        open_files=(64, 64),
        mapped_paths=frozenset({"/usr/bin/python3.11"}),
    )


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"{",
        answer(PROCESS, PROCESS),
        answer([PROCESS, PROCESS]),
        answer([]),
        answer({}),
        answer(PROCESS | {"limits": {}}),
        answer(PROCESS | {"status": None}),
        answer(PROCESS | {"maps": [None]}),
        answer(PROCESS | {"maps": None}),
        answer("words"),
        answer([[]]),
    ],
    ids=["nothing", "cut", "two", "a list of two", "none", "empty", "limits", "status", "map", "maps", "text", "list"],
)
def test_another_description_is_not_understood(said: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own errors among them
        parse_guest(said)


def test_a_process_that_is_not_gvisors_is_not_watched() -> None:
    with pytest.raises(ValueError, match="not gVisor's kernel"):
        GvisorGuest(os.getpid(), "c0ffee")
