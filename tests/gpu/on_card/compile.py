"""Compile llama.cpp for a card of this machine, with and without CUDA's virtual memory management.

Usage: ``python -m tests.gpu.on_card.compile --toolkit DIRECTORY [--architectures 90-real]``, with cmake, ninja and a
C++ compiler on the path. The sources are the pinned ones of the installation (`make setup`). It is no part of the
product: the backend's own image is built in a container.
"""

import argparse
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

from supervisor.adapters.home import default_home
from tests.places import REPOSITORY

__all__ = ["BUILD", "cuda_definitions"]

BUILD = REPOSITORY / "build" / "gpu" / "llama"
WORK = REPOSITORY / "build" / "gpu" / "work"
GGML = ("libggml.so.0", "libggml-base.so.0", "libggml-cpu.so.0", "libggml-cuda.so.0")
BENCH = ("libllama.so.0", "libllama-common.so.0", "libllama-bench-impl.so", "llama-bench")
OBJECT = "ggml/src/ggml-cuda/CMakeFiles/ggml-cuda.dir/ggml-cuda.cu.o"
LIBRARY = re.compile(r"-o bin/libggml-cuda\.so\.[\d.]+")
# The driver's functions of virtual memory management, in a library that is not there where there is no driver.
STUB = "cuDeviceGet cuDeviceGetAttribute cuGetErrorString cuMemAddressFree cuMemAddressReserve cuMemCreate"
STUB += " cuMemGetAllocationGranularity cuMemMap cuMemRelease cuMemSetAccess cuMemUnmap"


def cuda_definitions(toolkit: Path, architectures: str) -> dict[str, str]:
    """Return cmake's definitions: those of the backend `cpu_avx2`, and CUDA."""
    backends = tomllib.loads((REPOSITORY / "runtime-image" / "backends.toml").read_text(encoding="utf-8"))
    common: dict[str, str] = backends["common"]["cmake"]
    processor: dict[str, str] = backends["backends"]["cpu_avx2"]["cmake"]
    return {
        **common,
        **processor,
        # For llama-bench.
        "LLAMA_BUILD_COMMON": "ON",
        "LLAMA_BUILD_TOOLS": "ON",
        "LLAMA_USE_PREBUILT_UI": "OFF",
        "GGML_CUDA": "ON",
        "GGML_CUDA_NCCL": "OFF",
        # With it, the library would be linked to the driver's.
        "GGML_CUDA_NO_VMM": "ON",
        "CMAKE_CUDA_ARCHITECTURES": architectures,
        "CMAKE_CUDA_COMPILER": str(toolkit / "bin" / "nvcc"),
        "CUDAToolkit_ROOT": str(toolkit),
        "CMAKE_EXE_LINKER_FLAGS": f"-Wl,-rpath-link,{toolkit / 'lib'}",
    }


def _run(*command: str) -> None:
    subprocess.run(command, cwd=WORK, check=True)


def _said(*command: str) -> list[str]:
    done = subprocess.run(command, cwd=WORK, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def _copy(names: tuple[str, ...], target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copy(WORK / "bin" / name, target / name)


def _compile_with_vmm(target: Path) -> None:
    """Compile the one file that depends on it again, and link the library again."""
    commands = _said("ninja", "-t", "commands", "bin/libggml-cuda.so")
    compiling = next(line for line in commands if f"-o {OBJECT}" in line)
    linking = next(line for line in commands if LIBRARY.search(line))
    names = "".join(f"int {name}(void) {{ return 0; }}\n" for name in STUB.split())
    (WORK / "stub.c").write_text(names)
    _run("cc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "stub.c", "-o", "libcuda-stub.so")
    compiling = compiling.replace("-DGGML_CUDA_NO_VMM", "").replace(OBJECT, "with-vmm.o")
    _run("sh", "-c", compiling)
    linking = LIBRARY.sub(f"-o {target / 'libggml-cuda.so.0'}", linking.replace(OBJECT, "with-vmm.o libcuda-stub.so"))
    _run("sh", "-c", linking)


def main() -> None:
    """Compile into `BUILD`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toolkit", type=Path, default=Path("/usr/local/cuda"))
    parser.add_argument("--architectures", default="90-real")
    options = parser.parse_args()
    source = next((default_home() / "cache" / "sources").glob("*/vendor/llama.cpp"))
    WORK.mkdir(parents=True, exist_ok=True)
    definitions = cuda_definitions(options.toolkit, options.architectures)
    _run(
        "cmake",
        "-S",
        str(source),
        "-B",
        ".",
        "-G",
        "Ninja",
        *(f"-D{key}={value}" for key, value in definitions.items()),
    )
    _run("ninja", "-j", str(os.cpu_count()), "llama", "llama-bench")
    for name in ("lib", "vmm"):
        _copy(GGML, BUILD / name)
        shutil.copy(WORK / "bin" / "libllama.so", BUILD / name / "libllama.so")
        runtime = next((options.toolkit / "lib").glob("libcudart.so.13"), options.toolkit / "lib64" / "libcudart.so.13")
        shutil.copy(runtime, BUILD / name)
    _copy(BENCH, BUILD)
    _compile_with_vmm(BUILD / "vmm")


if __name__ == "__main__":
    main()
