"""A recording as a result: calls by phase, requests by device, paths, and what both locks would not let through."""

import re
from collections import Counter
from pathlib import Path

from tests.gpu.on_card.filters import SIGNIFICANT
from tests.gpu.on_card.ioctls import request_name
from tests.gpu.on_card.record_calls import DRIVER_WORDS, Recording, needed_calls

__all__ = ["describe_recording", "place"]

PHASES = ("start", "load", "job", "end")
BY_DESCRIPTOR = {"ioctl", "mmap", "read", "write", "pread64"}
# Places that say the same of every machine; where the files of one run lie does not matter.
GENERAL = ("/dev/", "/proc", "/sys/", "/etc/", "/usr/share/", "/nonexistent", "/usr/bin/nvidia")


def place(target: str) -> str:
    """Return what a path says of every machine."""
    target = re.sub(r"/(task|proc)/\d+", r"/\1/TID", target)
    if target.startswith(GENERAL) or not target.startswith("/"):
        return target
    if any(word in target for word in DRIVER_WORDS):
        return Path(target).name
    return "a file of the runner, the interpreter or the C library"


def describe_recording(recording: Recording) -> dict[str, object]:
    """Return a recording for the results: calls by phase, requests by device, paths."""
    return {
        "fault": recording.fault,
        "ready_after_ms": recording.ready_after_ms,
        "tokens": len(recording.tokens),
        "driver_files_mapped": sorted(map(place, recording.mapped)),
        "calls": {phase: _calls_of(recording, phase) for phase in PHASES},
        "requests": {phase: _requests_of(recording, phase) for phase in PHASES},
        "paths": {phase: _paths_of(recording, phase) for phase in PHASES},
        "beyond_lock_one": _shown(recording, "one"),
        "beyond_lock_two": _shown(recording, "two"),
    }


def _calls_of(recording: Recording, phase: str) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for call, count in recording.calls.items():
        if call.phase == phase:
            counted[call.name] += count
    return dict(sorted(counted.items()))


def _requests_of(recording: Recording, phase: str) -> dict[str, dict[str, int]]:
    devices: dict[str, dict[str, int]] = {}
    for call, count in recording.calls.items():
        if call.phase == phase and call.name == "ioctl":
            requests = devices.setdefault(place(call.target), {})
            shown = f"{call.arguments[0]:#x} {call.detail}"
            requests[shown] = requests.get(shown, 0) + count
    return {device: dict(sorted(requests.items())) for device, requests in sorted(devices.items())}


def _paths_of(recording: Recording, phase: str) -> dict[str, list[str]]:
    paths: dict[str, set[str]] = {}
    for call in recording.calls:
        if call.phase == phase and call.target.startswith("/") and call.name not in BY_DESCRIPTOR:
            flags = f" {call.arguments[0]:#x}" if call.name == "openat" else ""
            paths.setdefault(place(call.target), set()).add(call.name + flags)
    return {path: sorted(names) for path, names in sorted(paths.items())}


def _shown(recording: Recording, lock: str) -> list[dict[str, object]]:
    needed = needed_calls(recording, lock)
    targets: dict[tuple[str, tuple[int, ...]], set[str]] = {key: set() for key in needed}
    for call in recording.calls:
        key = (call.name, call.arguments)
        if key in targets and call.target and (lock == "one" or call.phase in {"job", "end"}):
            targets[key].add(place(call.target))
    shown = []
    for (name, arguments), count in sorted(needed.items()):
        found = sorted(targets[name, arguments])[:6]
        entry: dict[str, object] = {"call": name, "count": count, "targets": found}
        entry["arguments"] = dict(zip(map(str, SIGNIFICANT.get(name, ())), map(hex, arguments), strict=True))
        if name == "ioctl":
            entry["request"] = sorted({request_name(target, arguments[0]) for target in found})
        shown.append(entry)
    return shown
