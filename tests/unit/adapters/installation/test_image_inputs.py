import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.adapters.installation.backends import default_source_root, require_backend
from supervisor.adapters.installation.image_inputs import inputs_key
from supervisor.domain.errors import SetupError
from supervisor.setup.images.llama_build import build_key
from supervisor.setup.images.runtime_image import build_runtime_image
from supervisor.setup.images.sources import parse_archives
from tests.silent_progress import SilentProgress

ROOT = default_source_root()
SOURCES = ROOT / "runtime-image"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(SOURCES, tmp_path / "runtime-image")
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    return tmp_path


def append(file: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        with (root / "runtime-image" / file).open("a") as opened:
            opened.write("\n# changed\n")

    return change


@pytest.mark.parametrize(
    "change",
    [
        append("Dockerfile"),
        append("toolchain.Dockerfile"),
        append("sources.txt"),
        append("start.py"),
        append("build/assemble.py"),
        append("build/lockdown_compiler.py"),
        append("../policies/lockdown.json"),
        append("build/compile.sh"),
        append("runner/text.py"),
        append("shims/typing_extensions.py"),
        lambda root: (root / "runtime-image" / "runner" / "new.py").write_text(""),
        lambda root: (root / "runtime-image" / "runner" / "text.py").unlink(),
    ],
)
def test_whatever_goes_into_an_image_changes_its_key(checkout: Path, change: Callable[[Path], None]) -> None:
    backend = require_backend(checkout, "cpu_avx2")
    before = inputs_key(checkout, backend)
    assert before == inputs_key(ROOT, backend)
    change(checkout)
    assert inputs_key(checkout, backend) != before


def test_what_does_not_go_into_an_image_leaves_its_key(checkout: Path) -> None:
    backend = require_backend(checkout, "cpu_avx2")
    before = inputs_key(checkout, backend)
    (checkout / "runtime-image" / "runner" / "__pycache__").mkdir(exist_ok=True)
    (checkout / "runtime-image" / "runner" / "__pycache__" / "text.pyc").write_bytes(b"x")
    append("backends.toml")(checkout)
    assert inputs_key(checkout, require_backend(checkout, "cpu_avx2")) == before


def test_each_backend_has_a_key_of_its_own() -> None:
    keys = {inputs_key(ROOT, require_backend(ROOT, name)) for name in ("cpu_x86_64", "cpu_avx2", "cpu_avx512")}
    assert len(keys) == 3


def test_a_compilation_is_known_by_source_flags_toolchain_and_script(checkout: Path) -> None:
    archive = parse_archives((SOURCES / "sources.txt").read_text())["llama-cpp-python"]
    avx2 = require_backend(ROOT, "cpu_avx2")
    keys = {
        build_key(archive, avx2, "sha256:1", ROOT),
        build_key(archive, avx2, "sha256:2", ROOT),
        build_key(archive, require_backend(ROOT, "cpu_avx512"), "sha256:1", ROOT),
    }
    append("build/compile.sh")(checkout)
    keys.add(build_key(archive, avx2, "sha256:1", checkout))
    assert len(keys) == 4
    assert build_key(archive, avx2, "sha256:1", ROOT) in keys


def test_an_unknown_backend_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(SetupError) as caught:
        build_runtime_image(tmp_path / "home", "tpu", SilentProgress(), "unix:///nowhere")
    assert caught.value.code == "backend_unknown"
    assert not (tmp_path / "home").exists()


def test_an_engine_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="nothing listens") as caught:
        build_runtime_image(tmp_path, "cpu_avx2", SilentProgress(), f"unix://{tmp_path}/no.sock")
    assert caught.value.code == "engine_unreachable"
