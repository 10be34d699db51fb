"""How a runner can misbehave, row by row: at which step, what it does, and the reason that the record must give.

`code` replaces the step in `runner.py`, whose names it may use; the course goes on after it where it comes back. Steps:
`start` before anything, `set-up` before the model is read, `lock` instead of lock two, `ready` instead of saying so,
`job` instead of answering, `end` when it may go.
"""

from dataclasses import dataclass

__all__ = ["MISBEHAVIOURS", "Misbehaviour"]

FAILED = "runner_failed"
ABORTED = "model_assertion_failed"
CRASHED = "model_crashed"
VIOLATED = "lock_violated"
LATE = "time_limit_exceeded"
UNLOCKED = "lock_missing"
TOO_MUCH = "output_limit_exceeded"
HUNGRY = "memory_limit_exceeded"
# It harmed nobody and answered: None.
HARMLESS = None


@dataclass(frozen=True)
class Misbehaviour:
    """One row.

    Attributes:
        name: what it is called; the image's command names it where it begins before the set-up.
        step: the step that it replaces.
        code: what it does.
        reason: the record's code; None: the execution completes.
        says: words that the record's reason must hold.
        after: how far it must have come before its time ran out: `ready` or `prompt`.
        long_prompt: whether the job is longer than all buffers on its way.
    """

    name: str
    step: str
    code: str
    reason: str | None
    says: str = ""
    after: str | None = None
    long_prompt: bool = False


def _exits() -> tuple[Misbehaviour, ...]:
    numbers = (0, 1, 3)
    early = [
        Misbehaviour(f"exits with {n} before the model", "set-up", f"os._exit({n})", FAILED, f"status {n}")
        for n in numbers
    ]
    late = [
        Misbehaviour(f"exits with {n} instead of an answer", "job", f"os._exit({n})", FAILED, f"status {n}")
        for n in numbers
    ]
    deaths = {
        "SIGILL": "jump_to(bytes((0x0F, 0x0B)))",
        "SIGTRAP": "jump_to(bytes((0xCC,)))",
        "abort": "libc.abort()",
        "SIGBUS": "ctypes.string_at(beyond_its_end(), 1)",
        "SIGFPE": "libc.div(1, 0)",
        "SIGSEGV": "ctypes.string_at(0)",
        "SIGSYS": "libc.syscall(ctypes.c_long(0x40000000 | 39))",
    }
    statuses = (132, 133, 6, 135, 136, 139, 159)
    reasons = {6: ABORTED, 159: VIOLATED}
    killed = [
        Misbehaviour(f"dies of {name}", "set-up", code, reasons.get(status, CRASHED), f"status {status}")
        for (name, code), status in zip(deaths.items(), statuses, strict=True)
    ]
    return (*early, *late, *killed)


def _lines(*rows: tuple[str, str]) -> tuple[Misbehaviour, ...]:
    """Answers to the job that are no events, or that must not come there."""
    return tuple(Misbehaviour(name, "job", code, FAILED, "the runner ") for name, code in rows)


BEFORE_THE_SET_UP = (
    Misbehaviour("ends before anything", "start", "os._exit(0)", FAILED),
    Misbehaviour("speaks before it is spoken to", "start", "raw(b'hello\\n')", FAILED, "not an event"),
    Misbehaviour("is ready before it has its set-up", "start", "say({'type': 'ready'})", FAILED, "not an event"),
    Misbehaviour("floods standard error at once", "start", "flood(b'x' * 4096, STDERR_FD)", TOO_MUCH),
    Misbehaviour("is silent from the start", "start", "hang()", LATE),
)

BEFORE_THE_MODEL = (
    Misbehaviour("is silent before the model", "set-up", "hang()", LATE),
    Misbehaviour("sleeps before the model", "set-up", "time.sleep(10_000)", LATE),
    Misbehaviour("drips before the model", "set-up", "drip(b'{' * 10_000)", LATE),
    Misbehaviour("spins in every thread it gets", "set-up", "threads(); spin(10_000)", LATE),
    Misbehaviour("bombs with threads", "set-up", "os._exit(7 if 0 < threads() < 64 else 99)", FAILED, "status 7"),
    Misbehaviour(
        "bombs with processes", "set-up", "os._exit(99 if allowed(*[os.fork] * 1000) else 7)", FAILED, "status 7"
    ),
    Misbehaviour("eats memory before the model", "set-up", "eat()", HUNGRY),
    Misbehaviour(
        "fills the disk",
        "set-up",
        "places = ('/', '/dev', '/dev/shm', '/dev/mqueue', '/tmp', '/run', '/var/tmp', '/model', '/proc', '/sys')\n"
        "if allowed(*(writing(place + '/x') for place in places)): os._exit(99)",
        HARMLESS,
    ),
    Misbehaviour(
        "writes to its control group and to the kernel's files",
        "set-up",
        "groups = [str(path) for path in Path('/sys/fs/cgroup').glob('*/*')]\n"
        "files = ['/proc/self/oom_score_adj', '/proc/sys/kernel/hostname', '/proc/sysrq-trigger', '/dev/kmsg',\n"
        "         '/sys/fs/cgroup/cgroup.procs', '/proc/irq/default_smp_affinity', '/proc/self/uid_map']\n"
        "if allowed(*(writing(path) for path in files + groups)): os._exit(99)",
        HARMLESS,
    ),
    Misbehaviour(
        "sends itself every signal",
        "set-up",
        # SIGABRT, 6, ends it; SIGINT, 2, is an exception of the interpreter's.
        "for number in (1, *range(3, 6), *range(7, 65)): libc.syscall(234, os.getpid(), os.getpid(), number)",
        HARMLESS,
    ),
    Misbehaviour("writes one endless line", "set-up", "flood(b'x' * 4096)", FAILED, "longer than any event"),
    Misbehaviour("floods standard error", "set-up", "flood(b'x' * 4096, STDERR_FD)", TOO_MUCH),
    Misbehaviour("floods with empty lines", "set-up", "flood(b'\\n' * 4096)", FAILED, "not an event"),
    Misbehaviour("answers before it is ready", "set-up", "say(PROMPT, token(0), token(1), DONE)", FAILED, "before"),
    Misbehaviour("closes its output and goes on", "set-up", "os.close(EVENT_FD); hang()", LATE),
    Misbehaviour("closes both outputs and goes on", "set-up", "[os.close(fd) for fd in (1, 2, 3)]; hang()", LATE),
    Misbehaviour(
        "blames the request before it has one",
        "set-up",
        "say({'type': 'error', 'code': 'context_overflow', 'message': ''}); hang()",
        FAILED,
        "before",
    ),
    Misbehaviour(
        "cannot load the model",
        "set-up",
        "say({'type': 'error', 'code': 'model_load_failed', 'message': 'x\\x1b'})",
        "model_load_failed",
        "llama.cpp cannot load the model 'smollm2-135m-instruct': x",
    ),
    *_exits(),
)

# What it says of itself, and whether that is so.
LIES = (
    Misbehaviour("puts no second lock on", "lock", "pass", UNLOCKED, "filters"),
    Misbehaviour(
        "puts the second lock on one thread",
        "lock",
        "program = load_program()\n"
        "array = ctypes.create_string_buffer(program, len(program))\n"
        "header = (ctypes.c_size_t * 2)(len(program) // 8, ctypes.addressof(array))\n"
        "assert libc.syscall(ctypes.c_long(317), ctypes.c_long(1), ctypes.c_long(0), ctypes.byref(header)) == -1",
        UNLOCKED,
        "filters",
    ),
    Misbehaviour(
        "puts a lock on that allows everything",
        "lock",
        "lock_down(bytes((6, 0, 0, 0, 0, 0, 0xFF, 0x7F)))",
        UNLOCKED,
        "not the program of lock two",
    ),
    Misbehaviour(
        "puts a false lock over the true one",
        "lock",
        "lock_down(load_program()[:-8] + bytes((6, 0, 0, 0, 0, 0, 0xFF, 0x7F)))",
        UNLOCKED,
        "not the program of lock two",
    ),
    Misbehaviour(
        "says that its lock failed",
        "ready",
        "say({'type': 'error', 'code': 'lockdown_failed', 'message': 'x'})",
        UNLOCKED,
    ),
    Misbehaviour(
        "was locked by another policy", "ready", "say(READY | {'lockdown_policy': 'sha256:' + '0' * 64})", UNLOCKED
    ),
    Misbehaviour("is of another backend", "ready", "say(READY | {'backend': 'cpu_avx512'})", FAILED, "backend"),
    Misbehaviour("speaks another protocol", "ready", "say(READY | {'protocol': 2})", FAILED, "not an event"),
    Misbehaviour(
        "loaded another model",
        "ready",
        "say(READY | {'model': READY['model'] | {'architecture': 'gpt2'}})",
        FAILED,
        "another model",
    ),
    Misbehaviour(
        "has a thousand features", "ready", "say(READY | {'cpu_features': ['A'] * 1000})", FAILED, "not an event"
    ),
    Misbehaviour("says half that it is ready", "ready", "raw(line(READY)[:100]); os._exit(0)", FAILED, "status 0"),
    Misbehaviour("is ready twice", "ready", "raw(line(READY) * 2)", FAILED, "broke its protocol"),
    Misbehaviour(
        "answers a job that it has not got",
        "ready",
        "raw(line(READY) + line(PROMPT) + line(token(0)) + line(token(1)) + line(DONE)); hang()",
        FAILED,
        "before the job",
    ),
    Misbehaviour("does not take its job", "ready", "say(READY); hang()", LATE, after="ready", long_prompt=True),
)

WITH_THE_JOB = (
    Misbehaviour("is silent after its job", "job", "hang()", LATE, after="ready"),
    Misbehaviour("is silent after a token", "job", "say(PROMPT, token(0)); hang()", LATE, after="prompt"),
    Misbehaviour("drips after its job", "job", "say(PROMPT); drip(line(token(0)) * 100)", LATE, after="prompt"),
    Misbehaviour("eats memory after its job", "job", "say(PROMPT, token(0)); eat()", HUNGRY),
    Misbehaviour("bombs with threads after its job", "job", "threads()", VIOLATED, "status 159"),
    Misbehaviour("bombs with processes after its job", "job", "os.fork()", VIOLATED, "status 159"),
    Misbehaviour("sleeps by a call that is gone", "job", "time.sleep(1)", VIOLATED, "status 159"),
    Misbehaviour("opens a socket after its job", "job", "libc.socket(1, 1, 0)", VIOLATED, "status 159"),
    Misbehaviour("executes a program", "job", "os.execv('/usr/bin/python3.11', ['x'])", VIOLATED, "status 159"),
    Misbehaviour("takes the lock off", "job", "lock_down(bytes(8))", VIOLATED, "status 159"),
    Misbehaviour("closes its output after its job", "job", "os.close(EVENT_FD)", VIOLATED, "status 159"),
    Misbehaviour("reads a null pointer after its job", "job", "ctypes.string_at(0)", CRASHED, "status 139"),
    Misbehaviour("aborts after its job", "job", "libc.abort()", ABORTED, "status 6"),
    Misbehaviour(
        "throws the prompt after its job",
        "job",
        "os.write(STDERR_FD, b'terminate called after throwing the prompt\\n'); libc.abort()",
        "model_exception",
        "with the model 'smollm2-135m-instruct'; its words are left out",
    ),
    Misbehaviour(
        "says after its job that the model cannot be loaded",
        "job",
        "say({'type': 'error', 'code': 'model_load_failed', 'message': 'the prompt'})",
        FAILED,
        "cannot come there",
    ),
    Misbehaviour(
        "tries files after its job and answers",
        "job",
        "if allowed(*(writing(path) for path in ('/dev/x', '/proc/self/mem', '/sys/fs/cgroup/cgroup.procs'))):\n"
        "    os._exit(99)\n"
        "say(PROMPT, token(0), token(1), DONE)",
        HARMLESS,
    ),
    Misbehaviour("floods after its job", "job", "flood(b'x' * 4096)", FAILED, "longer than any event"),
    Misbehaviour("floods standard error after its job", "job", "flood(b'x' * 4096, STDERR_FD)", TOO_MUCH),
    Misbehaviour(
        "floods with valid events", "job", "say(PROMPT, *(token(n, text='x' * 4000) for n in range(64)))", TOO_MUCH
    ),
    Misbehaviour("ends within an event", "job", "raw(line(PROMPT) + line(token(0))[:20]); os._exit(0)", FAILED, "0"),
    Misbehaviour("says all at once", "job", "raw(line(PROMPT) + line(token(0)) + line(token(1)) + line(DONE))", None),
    Misbehaviour(
        "writes control characters",
        "job",
        "say(PROMPT, token(0, text='\\0\\x1b[2J\\r\\n'), token(1, text='\\u202e'), DONE)",
        HARMLESS,
    ),
)

NO_EVENTS = _lines(
    ("writes garbage", "raw(b'\\0\\xff garbage\\n')"),
    ("writes what is not UTF-8", 'raw(b\'{"type":"prompt","tokens":5,"\\xff":1}\\n\')'),
    ("writes no number", 'raw(b\'{"type":"prompt","tokens":NaN}\\n\')'),
    ("writes a number without end", "raw(b'{\"type\":\"prompt\",\"tokens\":' + b'9' * 10_000 + b'}\\n')"),
    ("writes deep JSON", "raw(b'[' * 10_000 + b'\\n')"),
    ("writes a key twice", 'raw(b\'{"type":"prompt","tokens":5,"tokens":5}\\n\')'),
    ("writes half a character", "raw(line(PROMPT) + line(token(0, text='\\ud800')))"),
    ("writes an oversize event", "say(PROMPT, token(0, text='x' * 16_384))"),
    ("writes an unknown event", "say({'type': 'confess'})"),
    ("gives times of its own", "say(PROMPT | {'at_ns': 1})"),
    ("writes two events in a line", "raw(line(PROMPT)[:-1] + line(token(0)))"),
)

WRONG_ORDER = _lines(
    ("is ready again", "say(READY)"),
    ("repeats the prompt", "say(PROMPT, PROMPT)"),
    ("gives a token before the prompt", "say(token(0))"),
    ("is done before the prompt", "say(DONE)"),
    ("leaves a token out", "say(PROMPT, token(1))"),
    ("repeats a token", "say(PROMPT, token(0), token(0))"),
    ("goes backwards", "say(PROMPT, token(0), token(1), token(0))"),
    ("counts from minus one", "say(PROMPT, token(-1))"),
    ("gives more tokens than asked for", "say(PROMPT, *(token(n) for n in range(65)))"),
    ("counts more than it gave", "say(PROMPT, token(0), token(1), DONE | {'tokens': 3})"),
    ("claims a length", "say(PROMPT, token(0), token(1), DONE | {'finish_reason': 'length'})"),
    ("claims a stop", "say(PROMPT, token(0), token(1), DONE | {'finish_reason': 'stop'})"),
    ("claims a prompt that does not fit", "say(PROMPT | {'tokens': 1_000_000}, token(0), token(1), DONE)"),
    ("says too late that its lock failed", "say({'type': 'error', 'code': 'lockdown_failed', 'message': 'x'})"),
    ("blames a request that it took", "say(PROMPT, {'type': 'error', 'code': 'context_overflow', 'message': 'x'})"),
)

AFTER_THE_ANSWER = (
    Misbehaviour("is silent when it may go", "end", "hang()", HARMLESS),
    Misbehaviour(
        "floods in one breath with its answer",
        "job",
        "answer = line(PROMPT) + line(token(0)) + line(token(1)) + line(DONE)\n"
        "raw(answer + b'x' * 20_000)\n"
        "flood(b'x' * 4096)",
        HARMLESS,
    ),
    Misbehaviour("floods when it is done", "job", "say(PROMPT, token(0), token(1), DONE); flood(b'x' * 4096)", None),
    Misbehaviour("goes on when it is done", "job", "say(PROMPT, token(0), token(1), DONE, token(2), DONE)", None),
    Misbehaviour("eats memory when it is done", "job", "say(PROMPT, token(0), token(1), DONE); eat()", None),
    Misbehaviour("fails when it is done", "job", "say(PROMPT, token(0), token(1), DONE); os._exit(3)", None),
    Misbehaviour("misbehaves in nothing", "end", "pass", HARMLESS),
)

_ROWS = (
    *BEFORE_THE_SET_UP,
    *BEFORE_THE_MODEL,
    *LIES,
    *WITH_THE_JOB,
    *NO_EVENTS,
    *WRONG_ORDER,
    *AFTER_THE_ANSWER,
)

# By the context size that plays the row; all are larger than the tokens asked for.
MISBEHAVIOURS: dict[int, Misbehaviour] = dict(enumerate(_ROWS, start=512))
