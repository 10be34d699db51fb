"""`weos-engine run`: what is sent for what was given, and what is printed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.execution.run_request import MAX_GRAMMAR_BYTES, MAX_PROMPT_BYTES, RunRequest
from supervisor.client.asking import DEFAULT_SYSTEM
from tests.supervisor_stand_in import Refused, StandIn, backend_view, model_view, said
from tests.unit.commands.conftest import Call

QUESTION = "What is the capital of France?"


def only(stand_in: StandIn) -> dict[str, Any]:
    (request,) = stand_in.requests
    RunRequest.parse(json.dumps(request).encode())
    return request


def test_a_prompt_alone_takes_the_only_model_and_the_best_backend(stand_in: StandIn, weos: Call) -> None:
    called = weos("run", QUESTION)
    assert (called.code, called.out) == (0, "Paris\n")
    request = only(stand_in)
    assert request["model"] == "small"
    assert request["messages"] == [
        {"role": "system", "content": DEFAULT_SYSTEM},
        {"role": "user", "content": QUESTION},
    ]
    assert request["execution"] == {
        "backend": "cpu_avx2",
        "quantization": "q4_1",
        "scheduler_policy": "default",
        "prompt_format": "auto",
        "limits": {"max_tokens": 256},
    }


def test_every_option_reaches_the_request(stand_in: StandIn, weos: Call, tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text('{"type": "object", "properties": {"b": {}, "a": {}}}')
    options = (
        *("--model", "m", "--quantization", "Q8_0", "--backend", "cpu_x86_64", "--format", "raw"),
        *("--json-schema", str(tmp_path / "schema.json"), "--stop", "\n", "--stop", "END"),
        *("--max-tokens", "9", "--max-watts", "7.5", "--timeout", "11", "--context", "512", "--scheduler-policy", "p"),
        *("--temperature", "0.5", "--seed", "3", "--top-k", "4", "--top-p", "0.9", "--min-p", "0.1"),
        *("--isolation", "gvisor"),
    )
    assert weos("run", QUESTION, *options).code == 0
    request = only(stand_in)
    assert request["model"] == "m"
    assert request["execution"] == {
        "backend": "cpu_x86_64",
        "quantization": "q8_0",
        "scheduler_policy": "p",
        "prompt_format": "raw",
        "json_schema": {"type": "object", "properties": {"b": {}, "a": {}}},
        "stop": ["\n", "END"],
        "limits": {"max_tokens": 9, "max_watts": 7.5, "timeout_s": 11},
        "context_tokens": 512,
        "sampling": {"temperature": 0.5, "top_k": 4, "top_p": 0.9, "min_p": 0.1},
        "seed": 3,
        "isolation": "gvisor",
    }
    assert list(request["execution"]["json_schema"]["properties"]) == ["b", "a"]


def test_zero_is_a_choice_and_so_is_an_empty_schema(stand_in: StandIn, weos: Call, tmp_path: Path) -> None:
    (tmp_path / "any.json").write_text("{}")
    assert weos("run", "x", "--seed", "0", "--temperature", "0", "--json-schema", str(tmp_path / "any.json")).code == 0
    execution = only(stand_in)["execution"]
    assert (execution["seed"], execution["sampling"], execution["json_schema"]) == (0, {"temperature": 0}, {})


def test_a_grammar_is_sent_as_it_is_in_its_file(stand_in: StandIn, weos: Call, tmp_path: Path) -> None:
    grammar = 'root ::= "sim" | "não"\n'
    (tmp_path / "yes-no.gbnf").write_text(grammar, encoding="utf-8")
    assert weos("run", "x", "--grammar", str(tmp_path / "yes-no.gbnf")).code == 0
    assert only(stand_in)["execution"]["grammar"] == grammar


def test_a_system_text_makes_the_prompt_a_conversation(stand_in: StandIn, weos: Call) -> None:
    assert weos("run", QUESTION, "--system", "Answer in one word.").code == 0
    request = only(stand_in)
    assert "prompt" not in request
    assert request["messages"] == [
        {"role": "system", "content": "Answer in one word."},
        {"role": "user", "content": QUESTION},
    ]


@pytest.mark.parametrize(
    "arguments", [("--system", ""), ("--format", "raw"), ("--model", "plain", "--quantization", "f16")]
)
def test_a_prompt_stays_a_prompt_where_nothing_instructs_the_model(
    stand_in: StandIn, weos: Call, arguments: tuple[str, ...]
) -> None:
    stand_in.models = [model_view(), model_view("plain", "f16", chat_template=None)]
    named = () if "--model" in arguments else ("--model", "small")
    assert weos("run", QUESTION, *named, *arguments).code == 0
    request = only(stand_in)
    assert (request["prompt"], "messages" in request) == (QUESTION, False)


def test_a_template_that_takes_no_system_message_is_asked_without_it(stand_in: StandIn, weos: Call) -> None:
    def script(request: dict[str, Any]) -> Iterator[Any]:
        if "messages" in request:
            raise Refused("template_refused", "no system message")
        return said("Paris")(request)

    stand_in.script = script
    called = weos("run", QUESTION)
    assert (called.code, called.out) == (0, "Paris\n")
    assert "takes no system message" in called.err
    assert [request.get("prompt") for request in stand_in.requests] == [None, QUESTION]
    stand_in.requests.clear()
    assert weos("run", QUESTION, "--system", "Be short.").err == "template_refused: no system message\n"


def test_another_refusal_is_not_asked_again(stand_in: StandIn, weos: Call) -> None:
    def script(_request: dict[str, Any]) -> Iterator[Any]:
        raise Refused("queue_full", "come again")

    stand_in.script = script
    assert weos("run", QUESTION).err == "queue_full: come again\n"
    assert len(stand_in.requests) == 1


def test_a_conversation_comes_from_a_file(stand_in: StandIn, weos: Call, tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Olá"}, {"role": "assistant", "content": "?"}]
    (tmp_path / "messages.json").write_text(json.dumps(messages))
    assert weos("run", "--messages", str(tmp_path / "messages.json")).code == 0
    assert only(stand_in)["messages"] == messages


@pytest.mark.parametrize("arguments", [("run",), ("run", "-")])
@pytest.mark.parametrize(
    ("piped", "prompt"),
    [
        (b"Ol\xc3\xa1\n", "Olá"),
        (b"two\r\n", "two"),
        (b"a\n\nb\n\n", "a\n\nb\n"),
        (b"x" * MAX_PROMPT_BYTES + b"\n", "x" * MAX_PROMPT_BYTES),
    ],
    ids=["echo", "crlf", "several lines", "as long as allowed"],
)
def test_a_pipe_gives_the_prompt(
    stand_in: StandIn, weos: Call, arguments: tuple[str, ...], piped: bytes, prompt: str
) -> None:
    assert weos(*arguments, "--format", "raw", stdin=piped).code == 0
    assert only(stand_in)["prompt"] == prompt


def test_at_a_terminal_a_prompt_can_be_typed_where_it_is_asked_for(stand_in: StandIn, weos: Call) -> None:
    called = weos("run", "-", stdin=b"typed\n", is_terminal=True)
    assert "Ctrl-D" in called.err
    assert only(stand_in)["messages"][-1]["content"] == "typed"


def test_at_a_terminal_without_a_prompt_the_ways_are_named(stand_in: StandIn, weos: Call) -> None:
    called = weos("run", is_terminal=True)
    assert called.code == 2
    for way in ("give a PROMPT", "standard input", "weos-engine chat"):
        assert way in " ".join(called.err.split())
    assert stand_in.requests == []


def written(folder: Path, name: str, content: bytes) -> str:
    path = folder / name
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "stdin", "told"),
    [
        (("run",), b"", "the prompt is empty"),
        (("run",), b"\n", "the prompt is empty"),
        (("run", ""), b"", "the prompt is empty"),
        (("run",), b"x" * (MAX_PROMPT_BYTES + 1), f"more than {MAX_PROMPT_BYTES} bytes"),
        (("run",), b"abc\xff", "not UTF-8 at byte 3"),
        (("run", "x", "--system", "y", "--format", "raw"), b"", "--system needs a chat template"),
        (("run", "x", "--messages", "[]"), b"", "put the question and the system text into its file"),
        (("run", "--system", "y", "--messages", "[]"), b"", "put the question and the system text into its file"),
        (("run", "--messages", "{}"), b"", "not a JSON array"),
        (("run", "--messages", '[{"a": 1, "a": 2}]'), b"", "cannot be read as JSON"),
        (("run", "x", "--json-schema", "[]"), b"", "must be a JSON object"),
        (("run", "x", "--json-schema", "{"), b"", "cannot be read as JSON"),
        (("run", "x", "--grammar", "root", "--json-schema", "{}"), b"", "give either --grammar or --json-schema"),
        (("run", "x", "--grammar", "\udcff"), b"", "so it is not a grammar"),
        (("run", "x", "--request", "{}"), b"", "PROMPT has no effect beside --request"),
        (("run", "--request", "{}", "--max-tokens", "4"), b"", "--max-tokens has no effect beside --request"),
        (("run", "--request", "{}", "--stop", "x"), b"", "--stop has no effect beside --request"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(
    stand_in: StandIn, weos: Call, tmp_path: Path, arguments: tuple[str, ...], stdin: bytes, told: str
) -> None:
    files = {"--messages", "--json-schema", "--grammar", "--request"}
    with_files = [
        written(tmp_path, "file" + option, each.encode(errors="surrogateescape")) if option in files else each
        for option, each in zip(("", *arguments), arguments, strict=False)
    ]
    called = weos(*with_files, stdin=stdin)
    assert called.code == 2
    assert told in " ".join(called.err.split())
    assert stand_in.requests == []


def test_of_a_large_grammar_no_more_is_read_than_its_refusal_needs(
    stand_in: StandIn, weos: Call, tmp_path: Path
) -> None:
    large = tmp_path / "large.gbnf"
    with large.open("wb") as file:
        file.truncate(2**40)
    assert weos("run", "x", "--grammar", str(large)).code == 0
    assert len(stand_in.requests[0]["execution"]["grammar"]) == MAX_GRAMMAR_BYTES + 1


def test_a_request_in_a_file_is_sent_byte_for_byte(stand_in: StandIn, weos: Call, tmp_path: Path) -> None:
    file = written(tmp_path, "request.json", b'{"model":   "m"}')
    called = weos("run", "--request", file, "--json")
    assert called.code == 0
    assert stand_in.requests == [{"model": "m"}]
    assert json.loads(called.out)["output"] == "Paris"


def test_a_choice_among_several_is_left_to_the_person(stand_in: StandIn, weos: Call) -> None:
    stand_in.models = [
        model_view("large", "q8_0"),
        model_view("small", "q4_1"),
        model_view("small", "f16", chat_template=None),
    ]
    called = weos("run", "x")
    assert (called.code, stand_in.requests) == (1, [])
    assert called.err.startswith("choice_needed: several models fit; choose with --model:\n")
    assert [line.split()[:2] for line in called.err.splitlines()[1:]] == [
        ["large", "q8_0"],
        ["small", "q4_1"],
        ["small", "f16"],
    ]
    assert "without a chat template" in called.err.splitlines()[3]
    assert "choose with --quantization" in weos("run", "x", "--model", "small").err
    for narrow in (("--model", "large"), ("--quantization", "Q8_0")):
        assert weos("run", "x", *narrow).code == 0
    assert [each["model"] for each in stand_in.requests] == ["large", "large"]


def test_a_long_list_of_models_is_cut_off(stand_in: StandIn, weos: Call) -> None:
    stand_in.models = [model_view(f"m{number:02}") for number in range(50)]
    said_lines = weos("run", "x").err.splitlines()
    assert len(said_lines) == 22
    assert "and 30 more" in said_lines[-1]


def test_what_is_not_installed_is_told_with_what_there_is(stand_in: StandIn, weos: Call) -> None:
    called = weos("run", "x", "--model", "none")
    assert (called.code, called.err.startswith("unknown_model: "), "small" in called.err) == (1, True, True)
    called = weos("run", "x", "--model", "small", "--quantization", "f16")
    assert called.code == 0, "the engine judges a whole name"
    called = weos("run", "x", "--quantization", "f16")
    assert (called.code, called.err.startswith("unknown_quantization: ")) == (1, True)
    stand_in.models = []
    assert "weos-engine models add" in weos("run", "x").err


def test_the_best_usable_backend_is_taken(stand_in: StandIn, weos: Call) -> None:
    stand_in.backends = [backend_view("cpu_avx2"), backend_view("cpu_avx512"), backend_view("cpu_x86_64")]
    weos("run", "x")
    stand_in.backends[1] = backend_view("cpu_avx512", runnable=False)
    weos("run", "x")
    stand_in.backends[0] = backend_view("cpu_avx2", installed=False)
    weos("run", "x")
    assert [each["execution"]["backend"] for each in stand_in.requests] == ["cpu_avx512", "cpu_avx2", "cpu_x86_64"]
    stand_in.backends[2] = backend_view("cpu_x86_64", installed=False)
    assert "weos-engine images build cpu_avx2" in weos("run", "x").err
    stand_in.backends = [backend_view("cpu_avx512", runnable=False)]
    assert weos("run", "x").err.strip() == "image_missing: no installed backend runs on this processor"


def test_what_was_held_back_until_the_end_is_printed(stand_in: StandIn, weos: Call) -> None:
    stand_in.script = said("Par", "", rest="is\ufffd")
    assert weos("run", "x").out == "Paris\ufffd\n"


def test_a_refusal_is_one_line_and_prints_no_text(stand_in: StandIn, weos: Call) -> None:
    def script(_request: dict[str, Any]) -> Iterator[Any]:
        raise Refused("unknown_backend", "there is no backend", available=["cpu_avx2"])

    stand_in.script = script
    called = weos("run", "x")
    assert (called.code, called.out) == (1, "")
    assert called.err == "unknown_backend: there is no backend (there is: cpu_avx2)\n"


def test_a_failure_in_the_middle_ends_the_line_of_the_text(stand_in: StandIn, weos: Call) -> None:
    def script(_request: dict[str, Any]) -> Iterator[Any]:
        yield "token", {"index": 0, "text": "Par"}
        raise Refused("time_limit_exceeded", "too slow")

    stand_in.script = script
    called = weos("run", "x")
    assert (called.code, called.out, called.err) == (1, "Par\n", "time_limit_exceeded: too slow\n")


def test_a_stream_that_breaks_off_is_told(stand_in: StandIn, weos: Call) -> None:
    stand_in.script = lambda _request: iter([("token", {"index": 0, "text": "Par"})])
    assert weos("run", "x").err.startswith("engine_unavailable: ")


@pytest.mark.parametrize(
    ("prompt_format", "finish_reason", "told"),
    [
        ("raw", "eos", "--format chat"),
        ("chat", "eos", "--temperature 0.7"),
        ("chat", "stop", "Leave out --stop"),
        ("raw", "length", "Raise --max-tokens"),
    ],
)
def test_an_empty_answer_explains_itself(
    stand_in: StandIn, weos: Call, prompt_format: str, finish_reason: str, told: str
) -> None:
    stand_in.prompt_format = prompt_format
    stand_in.script = said(finish_reason=finish_reason)
    called = weos("run", "x")
    assert (called.code, called.out) == (0, "\n")
    assert called.err.startswith("The answer is empty")
    assert told in called.err


def test_an_answer_with_text_explains_nothing(stand_in: StandIn, weos: Call) -> None:
    assert "empty" not in weos("run", "x").err


def test_record_and_bundle_are_written(stand_in: StandIn, weos: Call, tmp_path: Path) -> None:
    record, bundle = tmp_path / "record.json", tmp_path / "bundle.json"
    assert weos("run", "x", "--record", str(record), "--bundle", str(bundle)).code == 0
    assert json.loads(record.read_bytes()) == stand_in.document_at("/record")
    assert stand_in.execution_id() in bundle.read_text()


def test_without_a_supervisor_nothing_is_chosen(weos: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEOS_HOME", str(tmp_path / "nobody"))
    (tmp_path / "nobody").mkdir()
    assert weos("run", "x").err.startswith("engine_unavailable: ")
