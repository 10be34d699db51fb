"""The cache that is planned, held against the cache that the image's own llama.cpp makes from the same head."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from supervisor.adapters.installation.gguf_file import parse_gguf
from supervisor.domain.models.architectures import NO_TEXT, TEXT
from supervisor.domain.models.cache_size import size_cache
from supervisor.domain.models.hyperparameters import Hyperparameters
from supervisor.setup.images.runtime_image import build_runtime_image
from tests.gguf_files import write_gguf
from tests.model_heads import PUBLISHED, Keys, full_keys, small_head
from tests.silent_progress import SilentProgress

pytestmark = pytest.mark.docker

BACKEND = "cpu_avx2"
# It imports what only the image has, so it is read and not imported.
PROGRAM = Path(__file__).with_name("sizing.py")
LIBRARY = "/opt/weos/lib/llama_cpp/lib/libllama.so"
RUN_TIMEOUT_S = 300
MIB = 2**20
# llama.cpp rounds the sizes in its log to a hundredth of a MiB.
ROUNDING_BYTES = 0.005 * MIB
# One line for each part of the cache: keys and values, states, and what DeepSeek-V4 compresses.
SIZES = re.compile(
    r"(?:llama_kv_cache: size|llama_memory_recurrent: size|llama_dsv4_comp_state: .*layers = \d+, size) = +([\d.]+) MiB"
)
# An architecture whose loader looks at tokens of a certain number.
TOKENS = {"chameleon": 10_240}

Heads = dict[str, tuple[str, Keys]]
Sizes = tuple[int, list[float]]
"""The planned bytes of a cache, and the bytes of each part that llama.cpp allocates."""
Ask = Callable[[Heads, int, int], dict[str, Sizes]]


@pytest.fixture(scope="module")
def ask(weos_home: Path, docker_host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    image = build_runtime_image(weos_home, BACKEND, SilentProgress(), docker_host)
    program = PROGRAM.read_text(encoding="utf-8")
    client = docker.DockerClient(base_url=docker_host, timeout=RUN_TIMEOUT_S)

    def ask_llama(heads: Heads, context_tokens: int, batch_tokens: int) -> dict[str, Sizes]:
        directory = tmp_path_factory.mktemp("heads")
        # The image's user writes the logs.
        directory.chmod(0o777)
        files = {name: f"{number}.gguf" for number, name in enumerate(heads)}
        planned = {}
        for name, (architecture, keys) in heads.items():
            head = full_keys(architecture, keys, TOKENS.get(architecture, 64))
            data = write_gguf(directory / files[name], head, []).read_bytes()
            shape = size_cache(Hyperparameters(parse_gguf(data, len(data)), architecture))
            planned[name] = shape.cache_bytes(context_tokens, batch_tokens)
        client.containers.run(
            image.image_id,
            ["-I", "-S", "-B", "-c", program, str(context_tokens), str(batch_tokens), *files.values()],
            entrypoint="/usr/bin/python3.11",
            network_mode="none",
            remove=True,
            volumes={str(directory): {"bind": "/heads", "mode": "rw"}},
        )
        logs = {name: (directory / f"{file}.log").read_text(errors="replace") for name, file in files.items()}
        return {name: (planned[name], [float(size) * MIB for size in SIZES.findall(log)]) for name, log in logs.items()}

    yield ask_llama
    client.close()


def faults(asked: dict[str, Sizes]) -> dict[str, Sizes]:
    """Return the caches that are planned too small, or more than twice too large."""
    return {
        name: (planned, parts)
        for name, (planned, parts) in asked.items()
        if not 0 < sum(parts) <= planned + len(parts) * ROUNDING_BYTES
        or planned > 2 * (sum(parts) + len(parts) * ROUNDING_BYTES)
    }


@pytest.mark.parametrize(("context_tokens", "batch_tokens"), [(32_768, 512), (2048, 512), (700, 64)])
def test_the_cache_of_published_models_is_planned_as_it_is_allocated(
    ask: Ask, context_tokens: int, batch_tokens: int
) -> None:
    assert faults(ask(PUBLISHED, context_tokens, batch_tokens)) == {}


@pytest.mark.parametrize(("context_tokens", "batch_tokens"), [(4096, 512), (100, 64)])
def test_the_cache_of_every_architecture_is_planned_as_it_is_allocated(
    ask: Ask, context_tokens: int, batch_tokens: int
) -> None:
    heads = {name: (name, small_head(name)) for name in sorted(TEXT)}
    assert faults(ask(heads, context_tokens, batch_tokens)) == {}


def test_gemma_3_27b_takes_a_fifth_of_what_full_attention_would(ask: Ask) -> None:
    name = "Gemma 3 27B"
    planned, parts = ask({name: PUBLISHED[name]}, 32_768, 512)[name]
    assert planned == pytest.approx(sum(parts), rel=0.01)
    assert planned == pytest.approx(3.3e9, rel=0.02)


def test_the_image_knows_the_architectures_that_the_engine_knows(docker_host: str, weos_home: Path) -> None:
    image = build_runtime_image(weos_home, BACKEND, SilentProgress(), docker_host)
    client = docker.DockerClient(base_url=docker_host, timeout=RUN_TIMEOUT_S)
    # The names stand in the library as texts, each ended by a zero; one may be the end of another.
    program = f"import sys; sys.stdout.buffer.write(open('{LIBRARY}', 'rb').read())"
    library = client.containers.run(
        image.image_id, ["-I", "-S", "-c", program], entrypoint="/usr/bin/python3.11", network_mode="none", remove=True
    )
    client.close()
    assert [name for name in sorted(TEXT | set(NO_TEXT)) if name.encode() + b"\0" not in library] == []
