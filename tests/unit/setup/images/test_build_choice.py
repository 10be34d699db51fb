"""The backend that set-up builds, from what the kernel says of the processor."""

from pathlib import Path

import pytest

from supervisor.adapters.kernel.host import read_host_facts
from supervisor.domain.errors import SetupError
from supervisor.domain.planning.installation import HostFacts
from supervisor.setup.images.build_choice import backend_of_machine


def machine(root: Path, flags: str) -> HostFacts:
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: Test Processor\nflags\t\t: {flags}\n")
    return read_host_facts(root)


def test_a_processor_without_f16c_gets_the_oldest_backend(tmp_path: Path) -> None:
    assert backend_of_machine(machine(tmp_path, "fpu sse2 sse4_2 avx avx2 fma bmi2")) == "cpu_x86_64"


def test_a_processor_with_all_of_avx2_gets_that_backend(tmp_path: Path) -> None:
    assert backend_of_machine(machine(tmp_path, "fpu sse2 sse4_2 avx avx2 fma f16c bmi2")) == "cpu_avx2"


def test_a_processor_that_runs_no_backend_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"Test Processor.*sse2") as caught:
        backend_of_machine(machine(tmp_path, "fpu neon"))
    assert caught.value.code == "unsupported_cpu"
