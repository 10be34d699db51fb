"""How prompts reach the model, and the job that carries them."""

import json
from dataclasses import replace
from typing import Any

import pytest

from contracts.execution.run_request import Message, RunRequest
from contracts.execution.runner_protocol import JobGrammar
from contracts.wire.document import sha256_digest
from supervisor.domain.errors import Refusal
from supervisor.domain.planning.planning import plan_execution
from supervisor.domain.planning.prompts import build_job, choose_prompt_format
from tests.fakes.installation import CHAT_TEMPLATE, fixed_installation
from tests.fakes.run_requests import spec_request

INSTALLATION = fixed_installation()
CHAT_MODEL = INSTALLATION.models[0]
PLAIN_MODEL = replace(CHAT_MODEL, chat_template=None)
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]


def asked(*, messages: list[dict[str, str]] | None = None, **execution: Any) -> RunRequest:
    request = spec_request()
    request["execution"] = request["execution"] | execution
    if messages is not None:
        del request["prompt"]
        request["messages"] = messages
    return RunRequest.parse(json.dumps(request).encode())


@pytest.mark.parametrize(
    ("asked_for", "on_a_chat_model", "on_a_plain_model"),
    [("auto", "chat", "raw"), ("chat", "chat", None), ("raw", "raw", "raw")],
)
def test_the_format_follows_from_request_and_model(
    asked_for: str, on_a_chat_model: str, on_a_plain_model: str | None
) -> None:
    request = asked(prompt_format=asked_for)
    assert choose_prompt_format(request, CHAT_MODEL) == on_a_chat_model
    if on_a_plain_model is not None:
        assert choose_prompt_format(request, PLAIN_MODEL) == on_a_plain_model
        return
    with pytest.raises(Refusal) as caught:
        choose_prompt_format(request, PLAIN_MODEL)
    assert (caught.value.code, caught.value.errors[0].field) == ("chat_template_missing", "/execution/prompt_format")


@pytest.mark.parametrize("prompt_format", ["auto", "chat"])
def test_messages_need_a_template(prompt_format: str) -> None:
    request = asked(messages=CHAT, prompt_format=prompt_format)
    assert choose_prompt_format(request, CHAT_MODEL) == "chat"
    with pytest.raises(Refusal) as caught:
        choose_prompt_format(request, PLAIN_MODEL)
    assert (caught.value.code, caught.value.errors[0].field) == ("chat_template_missing", "/messages")


def test_the_plan_names_prompt_format_template_and_grammar() -> None:
    schema = {"type": "object"}
    plan = plan_execution(asked(messages=CHAT, json_schema=schema), INSTALLATION)
    assert (plan.prompt.form, plan.prompt_format, plan.parse_special) == ("messages", "chat", False)
    assert plan.model.chat_template == CHAT_TEMPLATE
    assert plan.grammar is not None
    assert (plan.grammar.kind, plan.grammar.sha256) == ("json_schema", sha256_digest(b'{"type":"object"}'))


@pytest.mark.parametrize(("parse_special", "planned"), [(None, True), (True, True), (False, False)])
def test_special_tokens_of_a_raw_prompt_are_the_callers_choice(parse_special: bool | None, planned: bool) -> None:
    plan = plan_execution(asked(prompt_format="raw", parse_special=parse_special), INSTALLATION)
    assert (plan.prompt_format, plan.parse_special) == ("raw", planned)


def test_a_raw_job_carries_the_prompt() -> None:
    request = asked(prompt_format="raw", grammar='root ::= "a"', stop=["\n"])
    job = build_job(request, plan_execution(request, INSTALLATION))
    assert (job.prompt, job.messages, job.parse_special) == (request.prompt, None, True)
    assert (job.grammar, job.stop) == (JobGrammar(kind="gbnf", text='root ::= "a"'), ("\n",))


def test_a_chat_job_carries_messages_even_of_a_prompt() -> None:
    request = asked()
    job = build_job(request, plan_execution(request, INSTALLATION))
    assert (job.prompt, job.parse_special, job.grammar) == (None, False, None)
    assert job.messages == (Message(role="user", content=str(request.prompt)),)
