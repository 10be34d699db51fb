import re
from pathlib import Path

import pytest

from supervisor.adapters.installation.backends import default_source_root, load_backends, require_backend
from supervisor.domain.errors import SetupError

ROOT = default_source_root()
INSTRUCTION_SETS = re.compile(r"-DGGML_(SSE42|AVX\w*|FMA|F16C|BMI2|AMX\w+)=(ON|OFF)")
# /proc/cpuinfo's name for each set that a backend may switch on.
CPU_FLAGS = {
    "SSE42": {"sse4_2"},
    "AVX": {"avx"},
    "AVX2": {"avx2"},
    "FMA": {"fma"},
    "F16C": {"f16c"},
    "BMI2": {"bmi2"},
    "AVX512": {"avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"},
}


def written(tmp_path: Path, text: str) -> Path:
    (tmp_path / "runtime-image").mkdir()
    (tmp_path / "runtime-image" / "backends.toml").write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", sorted(load_backends(ROOT)))
def test_a_backend_names_every_instruction_set_and_requires_those_it_uses(name: str) -> None:
    definition = require_backend(ROOT, name)
    matches = map(INSTRUCTION_SETS.fullmatch, definition.cmake_arguments())
    settings = {match[1]: match[2] for match in matches if match}
    assert len(settings) == 14
    required = set().union(*(CPU_FLAGS[set_name] for set_name, value in settings.items() if value == "ON"))
    assert required == set(definition.required_cpu_flags) - {"sse2"}


def test_nothing_is_compiled_for_the_machine_that_compiles() -> None:
    assert all("-DGGML_NATIVE=OFF" in backend.cmake_arguments() for backend in load_backends(ROOT).values())


def test_an_unknown_backend_is_refused_with_those_that_exist() -> None:
    with pytest.raises(SetupError, match="cpu_avx2, cpu_avx512, cpu_x86_64") as caught:
        require_backend(ROOT, "tpu")
    assert caught.value.code == "backend_unknown"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not toml",
        "[common.cmake]\n[backends.a]\nrequired_cpu_flags = []\nggml_features = []\n",
        "[common.cmake]\nA = true\n[backends.a]\nrequired_cpu_flags = []\nggml_features = []\n[backends.a.cmake]\n",
        "[common]\ncmake = 1\n[backends.a]\nrequired_cpu_flags = []\nggml_features = []\n[backends.a.cmake]\n",
    ],
)
def test_a_damaged_definition_is_refused_with_the_command_that_fixes_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(SetupError, match="git checkout") as caught:
        load_backends(written(tmp_path, text))
    assert caught.value.code == "definition_invalid"


def test_a_missing_definition_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="git checkout"):
        load_backends(tmp_path)
