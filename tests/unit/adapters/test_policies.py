import shutil
from pathlib import Path

import pytest

from supervisor.adapters.policies import POLICY_FILES, load_policies
from supervisor.composition import SOURCE_ROOT
from supervisor.domain.errors import EngineError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SOURCE_ROOT / "policies", tmp_path / "policies"))


def refused(directory: Path, match: str) -> None:
    with pytest.raises(EngineError, match=match):
        load_policies(directory)


def edit(directory: Path, name: str, old: str, new: str) -> None:
    path = directory / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_repositorys_policies_are_sound() -> None:
    policies = load_policies(SOURCE_ROOT / "policies")
    assert set(policies.digests) == set(POLICY_FILES)
    assert "default" in policies.scheduling


def test_a_digest_changes_with_a_single_byte(directory: Path) -> None:
    before = load_policies(directory).digests
    (directory / "power.toml").write_text((directory / "power.toml").read_text() + "#")
    after = load_policies(directory).digests
    assert [name for name in POLICY_FILES if before[name] != after[name]] == ["power.toml"]


@pytest.mark.parametrize("name", POLICY_FILES)
def test_a_missing_file_stops_the_start(directory: Path, name: str) -> None:
    (directory / name).unlink()
    refused(directory, name)


def test_a_missing_directory_stops_the_start(tmp_path: Path) -> None:
    refused(tmp_path / "none", r"admission\.toml")


def test_an_unknown_file_stops_the_start(directory: Path) -> None:
    (directory / "extra.toml").write_text("")
    refused(directory, r"extra\.toml")


def test_a_link_stops_the_start(directory: Path) -> None:
    (directory / "power.toml").rename(directory.parent / "power.toml")
    (directory / "power.toml").symlink_to(directory.parent / "power.toml")
    refused(directory, "symbolic link")


def test_texts_are_kept_unless_a_number_of_days_is_set(directory: Path) -> None:
    assert load_policies(directory).admission.texts.keep_days is None
    edit(directory, "admission.toml", "# keep_days = 30", "keep_days = 30")
    assert load_policies(directory).admission.texts.keep_days == 30


def test_a_huge_file_stops_the_start(directory: Path) -> None:
    (directory / "power.toml").write_bytes(b"#" * 300_000)
    refused(directory, "larger")


@pytest.mark.parametrize(
    "value",
    [
        "[" * 100_000,
        "9" * 5000,
        "0x" + "f" * 5000,
        "99999999999999999999",
        "2020-01-01",
        "1979-05-27T07:32:00Z",
        "nan",
        "-inf",
        "1e400",
        "1" + "\na" + ".a" * 1_500 + " = 1",
        "'\x00'",
        '"\\ud800"',
    ],
    ids=lambda value: value[:12],
)
def test_what_toml_can_say_and_no_policy_means_stops_the_start(directory: Path, value: str) -> None:
    edit(directory, "admission.toml", "max_tokens = 8192", f"max_tokens = {value}")
    refused(directory, r"policies/admission\.toml: ")


@pytest.mark.parametrize("pattern", ["(", "a{99999999999}", "(" * 5000 + ")" * 5000])
def test_a_pattern_that_cannot_be_compiled_stops_the_start(directory: Path, pattern: str) -> None:
    edit(directory, "power.toml", 'pattern = "', f'pattern = "{pattern}')
    refused(directory, "no regular expression")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('network = "none"', 'network = "bridge"'),
        ("read_only = true", "read_only = false"),
        ('user = "65532:65532"', 'user = "0:0"'),
        ('cap_drop = ["ALL"]', "cap_drop = []"),
        ('["no-new-privileges:true"]', "[]"),
        ('ipc = "none"', 'ipc = "host"'),
        ('cgroup_namespace = "private"', 'cgroup_namespace = "host"'),
        ('log_driver = "none"', 'log_driver = "json-file"'),
        ('dns = ["127.0.0.1"]', 'dns = ["8.8.8.8"]'),
        ("core = 0", "core = -1"),
        ("fsize = 0", "fsize = 1"),
        ("pids_max = 64", "pids_max = 0"),
        ("pids_max = 64", 'pids_max = 64\nprivileged = "yes"'),
        ('runtime = "runc"', 'runtime = "runsc"'),
        ('runtime = "weos-gvisor"', 'runtime = "runc"'),
        ('"--oci-seccomp=true"]', "]"),
        ('"--network=none", ', ""),
        ('"--network=none"', '"--network=host"'),
        ('"--oci-seccomp=true"]', '"--oci-seccomp=true", "--ignore-cgroups"]'),
        ('program = "runsc"', 'program = "sh"'),
        ('lockdown_end = "kill_process"', 'lockdown_end = "trap"'),
        ('lockdown_end = "trap"', 'lockdown_end = "none"'),
        ('default = "hardened"', 'default = "none"'),
        ("backends = {}", 'backends = {cpu_avx2 = "none"}'),
        ("[system_calls]", "[system_call]"),
    ],
)
def test_a_loosened_rule_stops_the_start(directory: Path, old: str, new: str) -> None:
    edit(directory, "sandbox.toml", old, new)
    refused(directory, r"sandbox\.toml")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('"defaultAction": "SCMP_ACT_ERRNO"', '"defaultAction": "SCMP_ACT_ALLOW"', "defaultAction"),
        ('"defaultAction": "SCMP_ACT_ERRNO"', '"defaultAction": "SCMP_ACT_LOG"', "defaultAction"),
        ('["SCMP_ARCH_X86_64"]', '["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]', "architectures"),
        ('["SCMP_ARCH_X86_64"]', '["SCMP_ARCH_X32"]', "architectures"),
        ('"SCMP_ACT_ALLOW"', '"SCMP_ACT_TRACE"', "action"),
        ('"SCMP_CMP_EQ"', '"SCMP_CMP_NE"', "op"),
        ('"names": ["execve",', '"includes": {}, "names": ["execve",', "includes"),
        ('"errnoRet": 38', '"errnoRet": 1', "errnoRet"),
        ('"errnoRet": 38', '"args": []', "errnoRet must be set"),
        ('"valueTwo": 331520, ', "", "valueTwo must be set"),
        ('{"index": 2, "value": 0,', '{"index": 0, "value": 0,', "one condition"),
        ('"execve", "exit"', '"execve", "ptrace", "exit"', "'ptrace', which sandbox.toml forbids"),
        ('"execve", "exit"', '"execve", "socket", "exit"', "'socket'"),
        ('"defaultAction"', '"defaultAction": "SCMP_ACT_ERRNO", "defaultAction"', "repeats"),
        ("}", "", "line"),
    ],
)
def test_a_loosened_filter_stops_the_start(directory: Path, old: str, new: str, match: str) -> None:
    edit(directory, "seccomp.json", old, new)
    refused(directory, rf"seccomp\.json.*{match}")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('"end_process"', '"refuse"', "otherwise"),
        ('"x86_64"', '"aarch64"', "architecture"),
        ('"action": "allow"', '"action": "log"', "action"),
        ('"values": [0]', '"values": []', "values"),
        ('"argument": 0', '"argument": 6', "argument"),
        ('"calls": ["read"]', '"calls": ["read"], "unless": []', "unless"),
        ('"calls": ["read"]', '"calls": ["read", "socket"]', "'socket', which sandbox.toml forbids"),
        ('"calls": ["read"]', '"calls": ["read", "execve"]', "'execve'"),
        ('"calls": ["read"]', '"calls": ["read", "openat"]', "'openat'"),
        ('"calls": ["read"]', '"calls": ["read", "clone"]', "'clone'"),
    ],
)
def test_a_loosened_second_lock_stops_the_start(directory: Path, old: str, new: str, match: str) -> None:
    edit(directory, "lockdown.json", old, new)
    refused(directory, rf"lockdown\.json.*{match}")


def test_what_no_lock_may_allow_is_all_there() -> None:
    """A list of its own: a call that is taken out of sandbox.toml must be taken out here too."""
    named = {
        *("ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "fork", "vfork", "execveat", "pidfd_open", "kill"),
        *("socket", "socketpair", "connect", "bind", "accept", "sendmsg", "recvmsg"),
        *("mount", "umount2", "pivot_root", "chroot", "setns", "unshare", "fsopen", "move_mount", "open_tree"),
        *("memfd_create", "memfd_secret", "userfaultfd", "pkey_mprotect", "pwrite64", "open", "creat", "openat2"),
        *("flock", "mq_open", "shmget", "shmat", "semget", "msgget", "keyctl", "add_key", "request_key", "mincore"),
        *("bpf", "perf_event_open", "io_uring_setup", "io_setup", "inotify_init1", "fanotify_init"),
        *("kexec_load", "init_module", "finit_module", "clock_settime", "settimeofday", "reboot", "syslog", "iopl"),
        *("setuid", "setgid", "setgroups", "capset", "personality", "prctl", "modify_ldt", "clone3"),
    }
    calls = load_policies(SOURCE_ROOT / "policies").sandbox.system_calls
    assert named <= set(calls.forbidden)
    later = {"execve", "clone", "openat", "dup", "fcntl", "lseek", "pread64", "getdents64", "seccomp", "close", "ioctl"}
    assert later <= set(calls.forbidden_after_lockdown)


def test_each_lock_allows_exactly_these_calls() -> None:
    """A list of its own: allowing a call changes this test, also where no rule of sandbox.toml forbids the call."""
    policies = load_policies(SOURCE_ROOT / "policies")
    lock_one = {
        *("access", "brk", "clock_getres", "clock_gettime", "clock_nanosleep", "close", "dup", "dup3", "epoll_ctl"),
        *("epoll_pwait", "execve", "exit", "exit_group", "faccessat", "faccessat2", "fadvise64", "fstat", "fstatfs"),
        *("getcwd", "getdents64", "getegid", "geteuid", "getgid", "getpid", "getppid", "getrandom", "gettid"),
        *("gettimeofday", "getuid", "lseek", "madvise", "mremap", "munmap", "nanosleep", "newfstatat", "pread64"),
        *("read", "readlink", "readlinkat", "restart_syscall", "rseq", "rt_sigaction", "rt_sigprocmask"),
        *("rt_sigreturn", "sched_getaffinity", "sched_yield", "set_robust_list", "set_tid_address", "sigaltstack"),
        *("sysinfo", "tgkill", "uname", "write", "writev"),
    }
    lock_one_with_conditions = {
        *("arch_prctl", "clone", "fcntl", "futex", "ioctl", "mmap", "mprotect", "openat", "prlimit64", "seccomp"),
    }
    lock_two = {
        *("brk", "clock_gettime", "exit", "exit_group", "getpid", "gettid", "munmap", "restart_syscall"),
        *("rt_sigreturn", "sched_yield"),
    }
    lock_two_with_conditions = {"futex", "madvise", "mmap", "mprotect", "mremap", "read", "tgkill", "write"}
    allowing = [rule for rule in policies.seccomp.syscalls if rule.action == "SCMP_ACT_ALLOW"]
    assert {name for rule in allowing if not rule.args for name in rule.names} == lock_one
    assert {name for rule in allowing if rule.args for name in rule.names} == lock_one_with_conditions
    later = [rule for rule in policies.lockdown.rules if rule.action == "allow"]
    assert {call for rule in later if not rule.conditions for call in rule.calls} == lock_two
    assert {call for rule in later if rule.conditions for call in rule.calls} == lock_two_with_conditions
    assert (len(lock_one | lock_one_with_conditions), len(lock_two | lock_two_with_conditions)) == (64, 18)


@pytest.mark.parametrize(
    ("name", "old", "new", "match"),
    [
        ("admission.toml", "max_tokens = 8192", 'max_tokens = "many"', r"limits\.max_tokens"),
        ("admission.toml", "# keep_days = 30", "keep_days = 0", r"texts\.keep_days"),
        ("admission.toml", "# keep_days = 30", "keep_days = 1.5", r"texts\.keep_days"),
        ("admission.toml", "[limits]", "[limits", r"admission\.toml"),
        ("scheduling.toml", "[default]", "[other]", "no policy named 'default'"),
        ("scheduling.toml", 'waiting = "spin"', 'waiting = "lazy"', "exclusive.waiting|waiting"),
        ("scheduling.toml", 'waiting = "spin"', 'waiting = "bounded"', "spin_count must be set"),
        ("scheduling.toml", 'waiting = "spin"', 'waiting = "spin"\nspin_count = 9', "spin_count must be set"),
        ("scheduling.toml", "[housekeeping]", "[other]", "cores"),
        ("scheduling.toml", "cores = 1\n", "cores = 4\n", "no core would be left"),
        ("roles.toml", "[observer]", "[onlooker]", "exactly the tables operator, observer"),
        ("roles.toml", "[operator]", "[optimizer.extra]", "exactly the tables"),
        ("roles.toml", 'isolation = "hardened"', 'isolation = "none"', "isolation"),
        ("roles.toml", '"ledger", "metrics", "admin"]', '"ledger", "everything"]', r"permissions"),
        ("roles.toml", '["plan", "ledger", "metrics"]', "[]", r"permissions"),
        ("roles.toml", "limits = {}\n", "", r"limits"),
        ("roles.toml", "requests_per_minute = 600", "requests_per_minute = 0", r"requests_per_minute"),
        ("roles.toml", "requests_per_minute = 600", "requests_per_hour = 600", r"requests_per_hour"),
        ("roles.toml", '["plan", "ledger", "metrics"]', '["plan", "plan"]', "named twice"),
        ("roles.toml", '["plan", "ledger", "metrics"]', '["read_all"]', "read_all needs read_own"),
        ("roles.toml", '["plan", "ledger", "metrics"]', '["cancel_own"]', "cancel_own needs read_own"),
        ("roles.toml", '"read_own", "read_all", "cancel_own"', '"read_own", "cancel_own"', "cancel_all needs read_all"),
        ("power.toml", 'pattern = "EPYC 7\\\\w\\\\d3"', 'pattern = "("', "regular expression"),
        ("power.toml", "busy_mw = 1870", "busy_mw = 400", "less when busy"),
        ("power.toml", 'pattern = ""', 'pattern = "x"', "last row"),
    ],
)
def test_a_policy_that_says_nonsense_stops_the_start(
    directory: Path, name: str, old: str, new: str, match: str
) -> None:
    edit(directory, name, old, new)
    refused(directory, match)
