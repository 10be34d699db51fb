"""Every way in which one process could leave something for another: how it is planted, and how it is found.

It runs inside containers, on what Python has there. A channel that only the living share is planted by a process that
stays. What a processor's caches and the page cache tell by time alone no functional test can decide.
"""

import _thread
import ctypes
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["CHANNELS", "find", "forget", "plant"]

NAME = "weos-plant"
MODEL = "/model/model.gguf"
KEY = 0x57454F53
NUMBER = "7777"
# Whole pages, and nobody's default.
PAGES = "123457536"
MESSAGE_BYTES = "/proc/sys/kernel/msgmax"
PORT = 5577
DESCRIPTOR = 50
DIRECTORIES = ("/", "/tmp", "/var/tmp", "/run", "/dev", "/dev/shm", "/dev/mqueue", "/opt/weos", "/model")
# asm/unistd_64.h
ADD_KEY, KEYCTL, FUTEX, MQ_OPEN = 248, 250, 202, 240
# linux/keyctl.h
USER_KEYRING, KEYCTL_UNLINK, KEYCTL_SEARCH, KEYCTL_SET_TIMEOUT = -4, 9, 10, 15
IPC_CREAT = 0o1000
ABSTRACT = (1).to_bytes(2, "little") + b"\0" + NAME.encode()
LOOPBACK = (2).to_bytes(2, "little") + PORT.to_bytes(2, "big") + bytes((127, 0, 0, 1)) + bytes(8)

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.mmap.restype = ctypes.c_void_p
libc.shmat.restype = ctypes.c_void_p


def checked(answer: int) -> int:
    """Return what a call answered.

    Raises:
        OSError: it failed.
    """
    if answer == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def system_call(number: int, *arguments: int | bytes) -> int:
    values = [value if isinstance(value, bytes) else ctypes.c_long(value) for value in arguments]
    return checked(libc.syscall(ctypes.c_long(number), *values))


def _reads(path: str, text: str) -> bool:
    return Path(path).read_text().strip() == text


class Channel:
    """One way; `plant` leaves something, `find` tells whether it is there. Either may fail, which is no."""

    def __init__(self, name: str, plant: Callable[[], object], find: Callable[[], object]) -> None:
        self.name = name
        self.plant = plant
        self.find = find


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    os.write(descriptor, text.encode())
    os.close(descriptor)


def _file_in(directory: str) -> Channel:
    path = f"{directory.rstrip('/')}/{NAME}"

    def plant() -> None:
        os.makedirs(directory, exist_ok=True)  # noqa: PTH103 - pathlib asks more of the kernel than is needed
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666))

    return Channel(f"a file in {directory}", plant, lambda: Path(path).exists())


def _model_descriptor() -> int:
    return os.open(MODEL, os.O_RDONLY)


def _write_model() -> None:
    descriptor = os.open(MODEL, os.O_RDWR)
    os.pwrite(descriptor, NAME.encode(), 0)


def _read_model() -> bool:
    return os.pread(_model_descriptor(), len(NAME), 0) == NAME.encode()


def _lock_model() -> bool:
    lock_and_do_not_wait = 2 | 4
    return bool(checked(libc.flock(_model_descriptor(), lock_and_do_not_wait)))


def _is_busy(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except BlockingIOError:
        return True
    return False


def _record_lock(command: int) -> ctypes.Array[ctypes.c_char]:
    # struct flock: a lock for reading, which a descriptor for reading may have; asked for, one for writing.
    kind = 0 if command == 6 else 1
    lock = ctypes.create_string_buffer(kind.to_bytes(8, "little"), 32)
    checked(libc.fcntl(_model_descriptor(), command, lock))
    return lock


def _model_page() -> int:
    page = libc.mmap(None, 4096, 1, 1, _model_descriptor(), 0)
    return int(page)


def _wait_on_model() -> None:
    page = _model_page()
    value = int.from_bytes(ctypes.string_at(page, 4), "little")
    # Once by the thread that may, so that a refusal is told; the value is another, so it does not wait.
    with suppress(BlockingIOError):
        system_call(FUTEX, page, 0, value ^ 1, 0, 0, 0)
    _thread.start_new_thread(libc.syscall, (FUTEX, ctypes.c_long(page), 0, value, 0, 0, 0))
    # Until it waits. FUTEX_CMP_REQUEUE wakes nobody and moves one waiter to where it is: tells whether there is one.
    for _ in range(1000):
        if system_call(FUTEX, page, 4, 0, 1, page, value):
            return
        time.sleep(0.001)


def _plant_key() -> None:
    key = system_call(ADD_KEY, b"user", NAME.encode(), NAME.encode(), len(NAME), USER_KEYRING)
    system_call(KEYCTL, KEYCTL_SET_TIMEOUT, key, 600)


def _find_key() -> int:
    return system_call(KEYCTL, KEYCTL_SEARCH, USER_KEYRING, b"user", NAME.encode(), 0)


def _plant_shared_memory() -> None:
    memory = libc.shmat(checked(libc.shmget(KEY, 4096, IPC_CREAT | 0o600)), None, 0)
    ctypes.memmove(memory, NAME.encode(), len(NAME))


def _plant_message() -> None:
    queue = checked(libc.msgget(KEY, IPC_CREAT | 0o600))
    checked(libc.msgsnd(queue, (1).to_bytes(8, "little") + NAME.encode(), len(NAME), 0))


def _listen(family: int, address: bytes) -> None:
    descriptor = checked(libc.socket(family, 1, 0))
    checked(libc.bind(descriptor, address, len(address)))
    checked(libc.listen(descriptor, 1))


def _connect(family: int, address: bytes) -> bool:
    return checked(libc.connect(checked(libc.socket(family, 1, 0)), address, len(address))) == 0


def _plant_descriptor() -> None:
    reading, writing = os.pipe()
    os.write(writing, NAME.encode())
    os.dup2(reading, DESCRIPTOR, inheritable=True)


def _descriptors() -> bool:
    # Beyond the three, the runner's own event descriptor and the one that lists them.
    return len(os.listdir("/proc/self/fd")) > 5 and os.fstat(DESCRIPTOR).st_mode > 0  # noqa: PTH208


def _cgroup_file() -> str:
    second = "/sys/fs/cgroup/memory.high"
    return second if Path(second).exists() else "/sys/fs/cgroup/memory/memory.soft_limit_in_bytes"


def _others() -> bool:
    mine = {str(os.getpid())}
    return any(name.isdigit() and name not in mine for name in os.listdir("/proc"))  # noqa: PTH208 - as above


CHANNELS = (
    *(_file_in(directory) for directory in DIRECTORIES),
    Channel("the model's bytes", _write_model, _read_model),
    Channel("a lock on the model", _lock_model, lambda: _is_busy(_lock_model)),
    Channel("a record lock on the model", lambda: _record_lock(6), lambda: _record_lock(5)[0] != b"\2"),
    Channel("a wait on the model", _wait_on_model, lambda: system_call(FUTEX, _model_page(), 1, 1, 0, 0, 0)),
    Channel("System V shared memory", _plant_shared_memory, lambda: checked(libc.shmget(KEY, 0, 0)) >= 0),
    Channel(
        "System V semaphores",
        lambda: checked(libc.semget(KEY, 1, IPC_CREAT | 0o600)),
        lambda: checked(libc.semget(KEY, 0, 0)) >= 0,
    ),
    Channel("a System V message", _plant_message, lambda: checked(libc.msgget(KEY, 0)) >= 0),
    Channel(
        "a POSIX message queue",
        lambda: system_call(MQ_OPEN, NAME.encode(), os.O_CREAT | os.O_RDWR, 0o600, 0),
        lambda: system_call(MQ_OPEN, NAME.encode(), os.O_RDONLY, 0, 0) >= 0,
    ),
    Channel("a key", _plant_key, _find_key),
    Channel("a control group's file", lambda: _write(_cgroup_file(), PAGES), lambda: _reads(_cgroup_file(), PAGES)),
    Channel("/proc/sys", lambda: _write(MESSAGE_BYTES, NUMBER), lambda: _reads(MESSAGE_BYTES, NUMBER)),
    Channel("an abstract socket", lambda: _listen(1, ABSTRACT), lambda: _connect(1, ABSTRACT)),
    Channel("the loopback network", lambda: _listen(2, LOOPBACK), lambda: _connect(2, LOOPBACK)),
    Channel("the environment", lambda: os.environ.update({NAME: NAME}), lambda: NAME in os.environ),
    Channel("a descriptor", _plant_descriptor, _descriptors),
    Channel("another process", lambda: None, _others),
    Channel(
        "the host's name",
        lambda: checked(libc.sethostname(NAME.encode(), len(NAME))),
        lambda: os.uname().nodename == NAME,
    ),
)


def plant() -> dict[str, str]:
    """Plant all; return by channel what came of it."""
    answers = {}
    for channel in CHANNELS:
        try:
            channel.plant()
            answers[channel.name] = "planted"
        except (OSError, ValueError) as error:
            answers[channel.name] = str(error)
    return answers


def find() -> list[str]:
    """Return the channels in which there is something."""
    found = []
    for channel in CHANNELS:
        try:
            if channel.find():
                found.append(channel.name)
        except (OSError, ValueError):
            pass
    return found


def forget() -> None:
    """Take away what outlives every process of a container."""
    system_call(KEYCTL, KEYCTL_UNLINK, _find_key(), USER_KEYRING)


def plant_and_look() -> int:
    """Plant, and look from another process that nothing keeps apart; its exit status becomes this one's."""
    # Even an unprotected container has its control groups mounted read-only: MS_REMOUNT and MS_BIND.
    checked(libc.mount(b"none", str(Path(_cgroup_file()).parent).encode(), None, 32 | 4096, None))
    plant()
    child = os.fork()
    if child == 0:
        look = f"import json, sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import channels\n"
        look += "print(json.dumps(channels.find())); channels.forget()"
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-B", "-c", look])  # noqa: S606 - it is tried, not used
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(plant_and_look())
