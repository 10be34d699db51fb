import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.adapters.kernel import gvisor_trace
from supervisor.adapters.kernel.gvisor_trace import GuestWatch, Runsc, read_filter_call
from supervisor.domain.sandbox.gvisor import FilterCall

# As runsc 0.0~20221219 sent them: a filter that could not be read (EFAULT), and one that was put on.
REFUSED = b"\x08\x00\x06\x00\x00\x00\x00\x00\x12\x02\x10\x0e \xbd\x02(\x010\x018\x01P\x07"
HEADER = b"\x08\x00\x06\x00\x00\x00\x00\x00"
PUT_ON = HEADER + b"\x12\x00 \xbd\x02(\x010\x018\xe0\xa0\xeb\xd9\xb7\xe4\x1f@\xd8\x9d\xd0\xfa\x0bP\x07"

# Plays runsc: `trace procfs` describes, `trace create` connects to the sink that the session names.
PROGRAM = """#!{python} -I
import json, socket, sys
mode = open({mode!r}).read()
if mode == "silent":
    import time
    time.sleep(60)
if mode == "fails":
    sys.exit("no such sandbox")
if sys.argv[3] == "procfs":
    print("PROCFS DUMP\\n\\n" + json.dumps(sys.argv[1:]))
    sys.exit(0)
if mode == "does not come":
    sys.exit(0)
session = json.load(open(sys.argv[sys.argv.index("--config") + 1]))["trace_session"]
sink = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
sink.connect(session["sinks"][0]["config"]["endpoint"])
sink.send(bytes((8, 2)))
assert sink.recv(100) == bytes((8, 1))
if mode == "fails later":
    sys.exit("cannot create")
assert session["points"] == [{{"name": "syscall/sysno/317/exit"}}]
sink.send({packet!r})
"""


@pytest.fixture
def mode(tmp_path: Path) -> Path:
    process = tmp_path / "proc" / "7"
    process.mkdir(parents=True)
    (process / "cmdline").write_bytes(b"runsc-sandbox\0--root=/run/runsc\0boot\0")
    mode = tmp_path / "mode"
    mode.write_text("well")
    program = process / "exe"
    program.write_text(PROGRAM.format(python=sys.executable, mode=str(mode), packet=PUT_ON))
    program.chmod(0o755)
    return mode


@pytest.fixture
def runsc(mode: Path) -> Runsc:
    return Runsc(7, "c0ffee", root=mode.parent)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, GuestWatch]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    watch = GuestWatch(ours)
    yield theirs, watch
    theirs.close()
    watch.close()


def test_the_program_that_runs_the_sandbox_is_asked_about_it(runsc: Runsc) -> None:
    assert b'["--root=/run/runsc", "trace", "procfs", "c0ffee"]' in runsc.describe()


def test_calls_are_reported_from_then_on(runsc: Runsc) -> None:
    watch = runsc.watch_filters()
    try:
        assert watch.calls() == (FilterCall(1, 1, 0, 0),)
        assert watch.calls() == (FilterCall(1, 1, 0, 0),)
    finally:
        watch.close()


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ("fails", "no such sandbox"),
        ("fails later", "cannot create"),
        ("does not come", "did not come"),
        ("silent", "does not answer"),
    ],
)
def test_a_kernel_that_cannot_be_watched_is_told_as_such(
    runsc: Runsc, mode: Path, monkeypatch: pytest.MonkeyPatch, how: str, match: str
) -> None:
    monkeypatch.setattr(gvisor_trace, "RUNSC_TIMEOUT_S", 0.5 if how == "silent" else 20.0)
    mode.write_text(how)
    with pytest.raises(OSError, match=match):
        runsc.watch_filters()


@pytest.mark.parametrize(("how", "match"), [("fails", "no such sandbox"), ("silent", "does not answer")])
def test_a_kernel_that_does_not_describe_is_told_as_such(
    runsc: Runsc, mode: Path, monkeypatch: pytest.MonkeyPatch, how: str, match: str
) -> None:
    monkeypatch.setattr(gvisor_trace, "RUNSC_TIMEOUT_S", 0.5 if how == "silent" else 20.0)
    mode.write_text(how)
    with pytest.raises(OSError, match=match):
        runsc.describe()


def test_a_description_has_bounds(runsc: Runsc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gvisor_trace, "MAX_ANSWER_BYTES", 10)
    with pytest.raises(OSError, match="too long"):
        runsc.describe()


def test_a_process_that_is_not_gvisors_is_not_asked(mode: Path) -> None:
    (mode.parent / "proc" / "7" / "cmdline").write_bytes(b"/usr/bin/python3.11\0-I\0")
    with pytest.raises(ValueError, match="not gVisor's kernel"):
        Runsc(7, "c0ffee", root=mode.parent)
    with pytest.raises(FileNotFoundError):
        Runsc(8, "c0ffee", root=mode.parent)


def test_reports_are_read_as_runsc_sends_them() -> None:
    assert read_filter_call(PUT_ON) == (0, FilterCall(operation=1, flags=1, result=0, error=0))
    assert read_filter_call(REFUSED) == (0, FilterCall(operation=1, flags=1, result=0, error=14))


def test_what_a_later_version_adds_is_passed_over() -> None:
    longer = struct.pack("<HHI", 12, 6, 0) + b"more" + PUT_ON[8:]
    fixed = PUT_ON + b"\x59" + bytes(8) + b"\x65" + bytes(4)
    assert read_filter_call(longer)[1] == read_filter_call(fixed)[1] == FilterCall(1, 1, 0, 0)
    assert read_filter_call(struct.pack("<HHI", 8, 99, 0) + b"another kind") == (0, None)
    assert read_filter_call(HEADER + b"\x12\x00\x20\x3b") == (0, None)


@pytest.mark.parametrize(
    "packet",
    [
        PUT_ON[:7],
        struct.pack("<HHI", 7, 6, 0) + PUT_ON[8:],
        struct.pack("<HHI", 900, 6, 0) + PUT_ON[8:],
        HEADER + b"\x20\xbd\x02",
        HEADER + b"\x12\x7f\x20\xbd\x02",
        HEADER + b"\x20",
        HEADER + b"\x20" + b"\xff" * 12,
        HEADER + b"\x13",
        HEADER + b"\x12\x00\x20\xbd\x02\x2a\x01x",
        HEADER + b"\x59\x00",
    ],
    ids=["cut", "small header", "large header", "no end", "long", "no value", "digits", "kind", "bytes", "fixed"],
)
def test_a_report_that_is_not_well_formed_is_no_report(packet: bytes) -> None:
    with pytest.raises(ValueError, match=r"a (report|call) "):
        read_filter_call(packet)


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(HEADER.__add__)))
def test_no_packet_does_more_than_be_refused(packet: bytes) -> None:
    try:
        dropped, call = read_filter_call(packet)
    except ValueError:
        return
    assert dropped >= 0
    assert call is None or isinstance(call, FilterCall)


def test_a_kernel_that_has_ended_reports_what_it_had(pair: tuple[socket.socket, GuestWatch]) -> None:
    theirs, watch = pair
    assert watch.calls() == ()
    theirs.send(REFUSED)
    theirs.close()
    assert watch.calls() == (FilterCall(1, 1, 0, 14),)


def test_reports_that_were_dropped_or_are_too_many_leave_nothing_to_go_by(
    pair: tuple[socket.socket, GuestWatch],
) -> None:
    theirs, watch = pair
    theirs.send(struct.pack("<HHI", 8, 6, 1) + PUT_ON[8:])
    assert watch.calls() is None
    theirs.send(PUT_ON)
    assert watch.calls() is None


def test_a_flood_of_reports_is_not_taken_for_evidence(pair: tuple[socket.socket, GuestWatch]) -> None:
    theirs, watch = pair
    for _ in range(gvisor_trace.MAX_PACKETS + 1):
        theirs.send(PUT_ON)
    assert watch.calls() is None
