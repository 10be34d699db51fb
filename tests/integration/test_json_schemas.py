"""Grammars of JSON Schema's own test suite, in the runtime image, against a validator that had no part in them.

Every schema of the suite is refused by name or expressed. Of the expressed ones, texts that the grammar allows are
valid documents, documents that the suite calls invalid are not allowed, and what a real model answers is valid.
"""

import json
from pathlib import Path
from typing import Any

import docker
import jsonschema
import pytest

from supervisor.adapters.home import Home
from supervisor.domain.errors import Refusal
from supervisor.domain.planning.gbnf import read_grammar
from supervisor.domain.planning.json_schema import express_schema
from supervisor.setup.images.runtime_image import BuiltImage, build_runtime_image
from supervisor.setup.models.catalogue import SMOLLM2_135M_INSTRUCT
from supervisor.setup.models.installing import ensure_model
from tests.grammar_walk import walk_grammar
from tests.integration.test_runtime_image import PYTHON, RESTRICTIONS, exchange
from tests.json_schema_suite import Case, fetch_suite, read_cases
from tests.silent_progress import SilentProgress

pytestmark = pytest.mark.docker

SCRIPT = Path(__file__).with_name("grammars_in_image.py")
RUN_TIMEOUT_S = 1200
WALKS = 30
ANSWERS = 100
MAX_TOKENS = 64
QUESTION = "Describe a person in JSON."
VALIDATORS = {
    "draft4": jsonschema.Draft4Validator,
    "draft7": jsonschema.Draft7Validator,
    "draft2019-09": jsonschema.Draft201909Validator,
    "draft2020-12": jsonschema.Draft202012Validator,
}
# What llama.cpp must not choke on, and what a grammar leaves the model to say.
GRAMMARS = {
    "root ::= [0-9]{4}": "eos",
    'root ::= "yes" | "no"': "eos",
    'root ::= "é" [\\U0001F600-\\U0001F64F] "漢"': "eos",
    'root ::= ""': "eos",
    # The name of a control token, as text.
    'root ::= "<|im_start|>" "x"': "eos",
    # The token itself has no text, so it cannot be part of the answer.
    'root ::= <|im_start|> "x"': "grammar_invalid",
    "root ::= <no-such-token>": "grammar_invalid",
    "root ::= [^\\x00-\\U0010FFFF]": "grammar_invalid",
    'root ::= "a" [^\\x00-\\U0010FFFF]': "grammar_invalid",
    "root ::= [a-z ]{2000}": "length",
}
Answer = dict[str, Any]


@pytest.fixture(scope="module")
def cases(weos_home: Path) -> list[Case]:
    return list(read_cases(fetch_suite(weos_home)))


@pytest.fixture(scope="module")
def expressed(cases: list[Case]) -> list[tuple[Case, str]]:
    found = []
    for case in cases:
        try:
            found.append((case, express_schema(case.schema)))
        except Refusal:
            continue
    return found


@pytest.fixture(scope="module")
def asked(expressed: list[tuple[Case, str]]) -> list[tuple[Case, str]]:
    newest = {json.dumps(case.schema): (case, text) for case, text in expressed if case.draft == "draft2020-12"}
    return list(newest.values())[:ANSWERS]


@pytest.fixture(scope="module")
def answer(
    weos_home: Path, docker_host: str, expressed: list[tuple[Case, str]], asked: list[tuple[Case, str]]
) -> Answer:
    image = build_runtime_image(weos_home, "cpu_avx2", SilentProgress(), docker_host)
    questions = [{"question": QUESTION, "kind": "json_schema", "text": text} for _, text in asked]
    questions += [{"question": "Hello", "kind": "gbnf", "text": text} for text in GRAMMARS]
    document = {
        "schemas": [
            {"text": text, "documents": [as_text(value) for value, _ in case.documents]} for case, text in expressed
        ],
        "answers": questions,
        "max_tokens": MAX_TOKENS,
    }
    installed = ensure_model(Home(weos_home), SMOLLM2_135M_INSTRUCT.name, SilentProgress())
    model = weos_home / "models" / installed.sha256.removeprefix("sha256:") / "model.gguf"
    return run_in_image(image, model, docker_host, document)


def as_text(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # Half a character has no UTF-8; as an escape, it is no character either.
    return text if text.isascii() or text.encode("utf-8", "ignore").decode() == text else json.dumps(value)


def run_in_image(image: BuiltImage, model: Path, docker_host: str, document: Answer) -> Answer:
    client = docker.APIClient(base_url=docker_host, timeout=RUN_TIMEOUT_S)
    binds: Any = {
        str(SCRIPT): {"bind": "/script.py", "mode": "ro"},
        str(model): {"bind": "/model.gguf", "mode": "ro"},
    }
    container_id = client.create_container(
        image.image_id,
        entrypoint=[*PYTHON, "/script.py", "/model.gguf"],
        stdin_open=True,
        environment={"OMP_WAIT_POLICY": "passive"},
        host_config=client.create_host_config(binds=binds, **RESTRICTIONS),
    )["Id"]
    try:
        output, errors, status = exchange(client, container_id, json.dumps(document).encode())
    finally:
        client.remove_container(container_id, force=True)
        client.close()
    assert status == 0, errors[-2000:]
    result: Answer = json.loads(output)
    return result


def test_a_good_part_of_the_suite_is_expressed(cases: list[Case], expressed: list[tuple[Case, str]]) -> None:
    assert len(cases) > 1300
    assert len(expressed) >= 450


def test_texts_that_the_grammars_allow_are_valid_documents(expressed: list[tuple[Case, str]], answer: Answer) -> None:
    wrong = []
    for (case, _), converted in zip(expressed, answer["converted"], strict=True):
        validator = VALIDATORS[case.draft](case.schema, format_checker=VALIDATORS[case.draft].FORMAT_CHECKER)
        texts = walk_grammar(read_grammar(converted["gbnf"]), WALKS)
        assert texts, case.name
        wrong += [(case.name, text) for text in texts if not is_valid(validator, text)]
    assert wrong == []


def is_valid(validator: Any, text: str) -> bool:
    try:
        return bool(validator.is_valid(json.loads(text)))
    except ValueError:
        return False


def test_invalid_documents_of_the_suite_are_not_allowed(expressed: list[tuple[Case, str]], answer: Answer) -> None:
    outcomes = [
        (case.name, value, is_valid_there, is_allowed)
        for (case, _), converted in zip(expressed, answer["converted"], strict=True)
        for (value, is_valid_there), is_allowed in zip(case.documents, converted["allowed"], strict=True)
    ]
    assert [outcome[:2] for outcome in outcomes if outcome[3] and not outcome[2]] == []
    allowed = [outcome for outcome in outcomes if outcome[3]]
    # Not all valid ones are allowed: of keywords that speak of one type, documents of that type are meant.
    assert len(allowed) >= 500


def test_a_hundred_answers_of_a_real_model_are_valid(asked: list[tuple[Case, str]], answer: Answer) -> None:
    assert len(asked) == ANSWERS
    complete = 0
    for (case, _), given in zip(asked, answer["answers"], strict=False):
        assert given["finish_reason"] in {"eos", "length"}, case.name
        if given["finish_reason"] == "eos":
            complete += 1
            assert is_valid(VALIDATORS[case.draft](case.schema), given["text"]), (case.name, given["text"])
    assert complete >= ANSWERS * 0.9


def test_grammars_end_as_they_should(answer: Answer) -> None:
    given = dict(zip(GRAMMARS, answer["answers"][ANSWERS:], strict=True))
    assert {text: each["finish_reason"] for text, each in given.items()} == GRAMMARS
    texts = [each["text"] for each in given.values()]
    assert texts[0].isdecimal()
    assert texts[1] in {"yes", "no"}
    assert (texts[2][0], texts[2][2:]) == ("é", "漢")
    assert texts[3:5] == ["", "<|im_start|>x"]
    assert set(texts[9]) <= set("abcdefghijklmnopqrstuvwxyz ")
