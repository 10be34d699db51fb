"""Put the runtime image's file tree together, inside the toolchain container.

Usage: ``assemble.py INPUT ROOTFS``. INPUT holds runner/, shims/, start.py, llama_cpp/ (bindings and lib/), minijinja/,
build.json, lockdown.json and lockdown_compiler.py. What goes in is found, not listed: the modules that the runner's
import loads, and the shared libraries that those and the interpreter map. So the image follows the code and holds
nothing besides.
"""

import hashlib
import json
import os
import py_compile
import shutil
import stat
import subprocess
import sys
from pathlib import Path

PYTHON = Path("/usr/bin/python3.11")
STDLIB = Path("/usr/lib/python3.11")
APPLICATION = Path("opt/weos")
MANIFEST = APPLICATION / "manifest.json"
UNPRIVILEGED_ID = 65532
TOOL_TIMEOUT_S = 120
# Every timestamp is this one, so that equal input gives equal files.
FIXED_TIME_S = 0

LIST_MODULE_FILES = """
import sys
sys.path.insert(0, sys.argv[1])
import runner.main, runner.templates, runner.quantize
for module in list(sys.modules.values()):
    file = getattr(module, "__file__", None)
    if file:
        print(file)
"""


def run_tool(*command: str) -> str:
    """Run a program of the toolchain and return what it prints."""
    return subprocess.run(  # noqa: S603 - fixed programs, no shell
        command, check=True, stdout=subprocess.PIPE, text=True, timeout=TOOL_TIMEOUT_S
    ).stdout


def compile_module(source: Path, target: Path, shown_path: str) -> None:
    """Compile a module to a sourceless .pyc; what runs is then exactly what the manifest names."""
    target.parent.mkdir(parents=True, exist_ok=True)
    py_compile.compile(
        str(source),
        cfile=str(target),
        dfile=shown_path,
        doraise=True,
        optimize=0,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def install_application(input_dir: Path, rootfs: Path) -> None:
    """Install the runner, the bindings and their libraries."""
    library = rootfs / APPLICATION / "lib"
    for package_root, pattern in (
        (input_dir, "runner/*.py"),
        (input_dir, "llama_cpp/*.py"),
        (input_dir, "minijinja/*.py"),
        (input_dir / "shims", "*.py"),
    ):
        for source in sorted(package_root.glob(pattern)):
            name = source.relative_to(package_root).with_suffix(".pyc")
            compile_module(source, library / name, f"/{APPLICATION / 'lib' / name.with_suffix('.py')}")
    compile_module(input_dir / "start.py", rootfs / APPLICATION / "start.pyc", f"/{APPLICATION}/start.py")
    shutil.copyfile(input_dir / "build.json", rootfs / APPLICATION / "build.json")
    compiler = input_dir / "lockdown_compiler.py"
    run_tool(str(PYTHON), "-I", "-B", str(compiler), str(input_dir / "lockdown.json"), str(rootfs / APPLICATION))
    shutil.copytree(input_dir / "llama_cpp" / "lib", library / "llama_cpp" / "lib")
    for extension in sorted((input_dir / "minijinja").glob("*.so")):
        shutil.copyfile(extension, library / "minijinja" / extension.name)


def find_module_files(rootfs: Path) -> list[Path]:
    """Return the files of the standard library that the runner's import loads."""
    listed = run_tool(str(PYTHON), "-I", "-S", "-B", "-c", LIST_MODULE_FILES, str(rootfs / APPLICATION / "lib"))
    files = {Path(line) for line in listed.splitlines()}
    # os is frozen into the interpreter, which looks for its file to find the standard library.
    files.add(STDLIB / "os.py")
    return sorted(file for file in files if file.is_relative_to(STDLIB))


def install_interpreter(rootfs: Path) -> None:
    """Install python and the part of its standard library that is used."""
    copy_at(PYTHON, rootfs)
    (rootfs / STDLIB.relative_to("/") / "lib-dynload").mkdir(parents=True)
    for file in find_module_files(rootfs):
        if file.suffix == ".py":
            target = rootfs / file.relative_to("/").with_suffix(".pyc")
            compile_module(file, target, str(file))
        else:
            copy_at(file, rootfs)


def copy_at(file: Path, rootfs: Path) -> None:
    """Copy a file's content to the same path, through the image's /usr."""
    path = file if file.is_relative_to("/usr") else Path("/usr") / file.relative_to("/")
    target = rootfs / path.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)


def mapped_libraries(binaries: list[Path], own: Path) -> set[Path]:
    """Return the libraries that the dynamic loader maps for these files, those under `own` left out."""
    libraries: set[Path] = set()
    for binary in binaries:
        for line in run_tool("ldd", str(binary)).splitlines():
            words = line.split()
            if "not found" in line:
                message = f"{binary} needs {words[0]}, which the toolchain image lacks"
                raise SystemExit(message)
            path = next((Path(word) for word in words if word.startswith("/")), None)
            if path is not None and not path.is_relative_to(own):
                libraries.add(path)
    return libraries


def install_shared_libraries(rootfs: Path) -> None:
    """Install what is mapped at run time, the loader's cache, and the paths that old names lead through."""
    binaries = [
        rootfs / PYTHON.relative_to("/"),
        *sorted(rootfs.rglob("*.so")),
        *sorted(rootfs.rglob("*.so.*")),
    ]
    for library in sorted(mapped_libraries(binaries, rootfs)):
        copy_at(library, rootfs)
    for name in ("lib", "lib64"):
        (rootfs / name).symlink_to(f"usr/{name}")


def install_accounts(rootfs: Path) -> None:
    """Name the user that runs, for programs that look it up."""
    etc = rootfs / "etc"
    etc.mkdir()
    (etc / "passwd").write_text(
        f"root:x:0:0:root:/nonexistent:/nonexistent\n"
        f"weos:x:{UNPRIVILEGED_ID}:{UNPRIVILEGED_ID}:weos:/nonexistent:/nonexistent\n"
    )
    (etc / "group").write_text(f"root:x:0:\nweos:x:{UNPRIVILEGED_ID}:\n")


def fix_metadata(rootfs: Path) -> None:
    """Make everything root's, readable by all, writable by root alone, of one time."""
    executable = {rootfs / PYTHON.relative_to("/")} | set(rootfs.rglob("ld-linux-*"))
    for path in [rootfs, *rootfs.rglob("*")]:
        os.chown(path, 0, 0, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path in executable else 0o644)
        os.utime(path, (FIXED_TIME_S, FIXED_TIME_S), follow_symlinks=False)


def describe_tree(rootfs: Path) -> dict[str, list[dict[str, object]]]:
    """Return the manifest: every regular file by content, every link by target."""
    files: list[dict[str, object]] = []
    links: list[dict[str, object]] = []
    for path in sorted(rootfs.rglob("*")):
        shown = f"/{path.relative_to(rootfs)}"
        if path.is_symlink():
            links.append({"path": shown, "target": str(path.readlink())})
        elif path.is_file():
            content = path.read_bytes()
            mode = stat.S_IMODE(path.stat().st_mode)
            digest = hashlib.sha256(content).hexdigest()
            files.append({"path": shown, "sha256": digest, "size_bytes": len(content), "mode": f"{mode:04o}"})
    return {"files": files, "links": links}


def main(input_dir: Path, rootfs: Path) -> None:
    """Assemble the tree."""
    rootfs.mkdir()
    install_application(input_dir, rootfs)
    install_interpreter(rootfs)
    install_shared_libraries(rootfs)
    install_accounts(rootfs)
    (rootfs / "model").mkdir()
    run_tool("/sbin/ldconfig", "-r", str(rootfs))
    # ldconfig's own cache of what it has seen: of no use at run time.
    shutil.rmtree(rootfs / "var", ignore_errors=True)
    fix_metadata(rootfs)
    manifest = json.dumps(describe_tree(rootfs), indent=1, sort_keys=True) + "\n"
    (rootfs / MANIFEST).write_text(manifest)
    # Again: the manifest is a new file, and its directory has a new time.
    fix_metadata(rootfs)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
