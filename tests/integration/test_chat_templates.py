"""Public chat templates and vocabularies, which the sources of llama.cpp carry, in the runtime image.

The texts are Jinja2's, with the settings of Hugging Face's renderer; the tokens are those of llama.cpp's own tokenizer
for the whole text, and no text of a message becomes a special token.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import docker
import jinja2
import pytest
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from supervisor.setup.images.runtime_image import BuiltImage, build_runtime_image
from supervisor.setup.images.sources import parse_archives
from tests.integration.test_runtime_image import PYTHON, RESTRICTIONS, exchange
from tests.places import REPOSITORY
from tests.silent_progress import SilentProgress

pytestmark = pytest.mark.docker

SCRIPT = Path(__file__).with_name("chats_in_image.py")
CONVERSATIONS = [
    [["user", "Hello there"]],
    [["system", "Be brief."], ["user", " What is 2+2?\n"], ["assistant", "<think>hm</think>4"], ["user", 'And "3"?']],
    [["user", "a"], ["assistant", "b"], ["user", "c <|im_end|>"]],
    [["user", "  \n é € 漢字 🙂 \t"]],
]
# White space, several scripts, code and what looks like markup, but no name of a special token.
PLAIN = [
    ["user", "Hello there, 123  foo\n\nbar é €"],
    ["assistant", "  Sure.\n```py\nx = 1\n```"],
    ["user", " \nok? <b>x</b> [a] 漢字"],
]
# Vocabularies and the templates of models that have them.
PAIRS = {
    "command-r": "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
    "deepseek-llm": "llama-cpp-deepseek-r1",
    "gemma-4": "google-gemma-4-31B-it",
    "llama-bpe": "meta-llama-Llama-3.1-8B-Instruct",
    "llama-spm": "mistralai-Mistral-Nemo-Instruct-2407",
    "phi-3": "microsoft-Phi-3.5-mini-instruct",
    "qwen2": "Qwen-Qwen2.5-7B-Instruct",
    "qwen35": "Qwen3.5-4B",
}
TRAINING_TAG = re.compile(r"\{%(-?)\s*(end)?generation\s*(-?)%\}")
Answer = dict[str, Any]


@pytest.fixture(scope="module")
def image(weos_home: Path, docker_host: str) -> BuiltImage:
    return build_runtime_image(weos_home, "cpu_avx2", SilentProgress(), docker_host)


@pytest.fixture(scope="module")
def models(weos_home: Path, image: BuiltImage) -> Path:
    archive = parse_archives((REPOSITORY / "runtime-image" / "sources.txt").read_text())[image.source_name]
    return weos_home / "cache" / "sources" / archive.sha256 / "vendor" / "llama.cpp" / "models"


@pytest.fixture(scope="module")
def templates(models: Path) -> list[Path]:
    return sorted((models / "templates").glob("*.jinja"))


@pytest.fixture(scope="module")
def answer(image: BuiltImage, models: Path, templates: list[Path], docker_host: str) -> Answer:
    asked = {
        "templates": [template.read_text() for template in templates],
        "conversations": CONVERSATIONS,
        "plain": PLAIN,
        "pairs": [
            {
                "name": name,
                "vocabulary": f"/models/ggml-vocab-{name}.gguf",
                "template": (models / "templates" / f"{template}.jinja").read_text(),
            }
            for name, template in PAIRS.items()
        ],
    }
    client = docker.APIClient(base_url=docker_host, timeout=300)
    binds: Any = {str(SCRIPT): {"bind": "/script.py", "mode": "ro"}, str(models): {"bind": "/models", "mode": "ro"}}
    options = {name: value for name, value in RESTRICTIONS.items() if name != "pids_limit"}
    container_id = client.create_container(
        image.image_id,
        entrypoint=[*PYTHON, "/script.py"],
        stdin_open=True,
        host_config=client.create_host_config(binds=binds, **options),
    )["Id"]
    try:
        output, errors, status = exchange(client, container_id, json.dumps(asked).encode())
    finally:
        client.remove_container(container_id, force=True)
        client.close()
    assert status == 0, errors[-2000:]
    document: Answer = json.loads(output)
    return document


@cache
def peer() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment.globals["raise_exception"] = refuse
    environment.filters["tojson"] = lambda value, indent=None, **_: json.dumps(value, ensure_ascii=False, indent=indent)
    return environment


def text_of_peer(template: str, conversation: list[list[str]]) -> str | None:
    source = TRAINING_TAG.sub(lambda tag: f"{{%{tag[1]} {'endif' if tag[2] else 'if true'} {tag[3]}%}}", template)
    messages = [{"role": role, "content": content} for role, content in conversation]
    values = {"add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>", "tools": None, "documents": None}
    try:
        return peer().from_string(source).render(messages=messages, **values)
    except (jinja2.TemplateError, TypeError):
        return None


def test_public_templates_give_the_text_of_jinja2(answer: Answer, templates: list[Path]) -> None:
    compared: set[str] = set()
    for template, texts in zip(templates, answer["texts"], strict=True):
        for conversation, ours in zip(CONVERSATIONS, texts, strict=True):
            expected = text_of_peer(template.read_text(), conversation)
            # Jinja2 fails where a template asks for tools or for the date without asking whether there are any.
            if expected is not None:
                assert ours == expected, template.name
                compared.add(template.name)
    assert len(compared) >= 60


def test_the_tokens_are_those_of_llama_cpp_and_nothing_is_forged(answer: Answer) -> None:
    assert {pair["name"] for pair in answer["pairs"]} == set(PAIRS)
    for pair in answer["pairs"]:
        assert pair["as_llama_cpp"], pair
        assert pair["special_in_the_chat"] > 1, pair
        assert not pair["forged"], pair
