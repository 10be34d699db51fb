from collections.abc import Callable
from typing import Any

import pytest

from runner.generation import Model, generate
from runner.protocol import Grammar, Job, RunnerError, Sampling

GREEDY = Sampling(0.0, 0, 1.0, 0.0, 1.0)
Scripted = Callable[..., Any]


def job(prompt: str = "one two", max_tokens: int = 8, stop: tuple[str, ...] = ()) -> Job:
    return Job(
        prompt, None, parse_special=True, grammar=None, max_tokens=max_tokens, seed=5, sampling=GREEDY, stop=stop
    )


def text_of(events: list[dict[str, object]]) -> str:
    return "".join(str(event["text"]) for event in events if event["type"] in {"token", "done"})


def test_the_prompt_event_comes_after_prefill_and_before_the_first_sample(scripted: Scripted) -> None:
    model = scripted([b"a"])
    assert next(generate(model, job())) == {"type": "prompt", "tokens": 2}
    assert model.calls == ["prefill 2", "start 0.0 5 2"]


def test_a_token_is_told_before_it_is_processed(scripted: Scripted) -> None:
    model = scripted([b"a", b"b"])
    events = generate(model, job())
    next(events)
    assert next(events) == {"type": "token", "index": 0, "token_id": 1, "text": "a"}
    assert model.calls[-1] == "sample"


def test_the_end_token_ends_generation_without_an_event(scripted: Scripted) -> None:
    events = list(generate(scripted([b"a", b"b"]), job()))
    assert [event["type"] for event in events] == ["prompt", "token", "token", "done"]
    assert events[-1] == {"type": "done", "finish_reason": "eos", "tokens": 2, "text": ""}


def test_the_last_token_allowed_is_not_processed_in_vain(scripted: Scripted) -> None:
    model = scripted([b"a", b"b", b"c"])
    events = list(generate(model, job(max_tokens=2)))
    assert events[-1] == {"type": "done", "finish_reason": "length", "tokens": 2, "text": ""}
    assert model.calls == ["prefill 2", "start 0.0 5 2", "sample", "decode 1", "sample"]


def test_a_stop_sequence_over_two_tokens_cuts_the_text_before_it(scripted: Scripted) -> None:
    events = list(generate(scripted([b"hi E", b"ND", b"x"]), job(stop=("END",))))
    assert text_of(events) == "hi "
    assert events[-1] == {"type": "done", "finish_reason": "stop", "tokens": 2, "text": ""}


def test_text_still_held_back_comes_with_done(scripted: Scripted) -> None:
    events = list(generate(scripted([b"hi E"]), job(stop=("END",))))
    assert events[-1] == {"type": "done", "finish_reason": "eos", "tokens": 1, "text": "E"}


def test_a_special_token_whose_name_is_a_stop_text_ends_the_answer(scripted: Scripted) -> None:
    events = list(generate(scripted([b"a", b"<|stop|>", b"b"]), job(stop=("<|stop|>",))))
    assert events[-1] == {"type": "done", "finish_reason": "stop", "tokens": 1, "text": ""}


def test_a_special_token_that_nobody_named_is_a_token_like_any(scripted: Scripted) -> None:
    model = scripted([b"a", b"<|stop|>", b"b"])
    model.piece = lambda token_id: b"" if token_id == 99 else b"x"
    assert [event["type"] for event in generate(model, job())][-2:] == ["token", "done"]


def test_a_stop_text_that_the_end_completes_counts(scripted: Scripted) -> None:
    events = list(generate(scripted([b"hi \xe2"]), job(stop=("\ufffd",), max_tokens=1)))
    assert events[-1] == {"type": "done", "finish_reason": "stop", "tokens": 1, "text": ""}


def test_a_character_over_two_tokens_comes_with_the_second(scripted: Scripted) -> None:
    events = list(generate(scripted([b"\xe2\x82", b"\xac"]), job()))
    assert [event["text"] for event in events[1:3]] == ["", "\u20ac"]


def test_prompt_and_answer_that_just_fit_are_computed(scripted: Scripted) -> None:
    events = list(generate(scripted([b"a"] * 9, context_tokens=10), job(max_tokens=8)))
    assert events[-1]["finish_reason"] == "length"


@pytest.mark.parametrize("words", [3, 200])
def test_what_does_not_fit_is_refused_with_the_number_of_prompt_tokens(scripted: Scripted, words: int) -> None:
    model = scripted([], context_tokens=10)
    with pytest.raises(RunnerError) as caught:
        list(generate(model, job("word " * words, max_tokens=8)))
    assert (caught.value.code, caught.value.prompt_tokens) == ("context_overflow", words)
    assert "word " not in caught.value.message
    assert model.calls == []


@pytest.mark.parametrize("prompt", ["", "   "])
def test_a_prompt_without_tokens_is_refused(scripted: Scripted, prompt: str) -> None:
    with pytest.raises(RunnerError) as caught:
        list(generate(scripted([]), job(prompt)))
    assert caught.value.code == "empty_prompt"


def test_a_failed_decode_ends_the_events(scripted: Callable[..., Model]) -> None:
    events = generate(scripted([b"a", b"b"], failing_decode=0), job())
    assert [next(events)["type"], next(events)["type"]] == ["prompt", "token"]
    with pytest.raises(RunnerError, match="llama_decode"):
        next(events)


def test_a_grammar_is_read_before_the_prompt_is_computed(scripted: Scripted) -> None:
    model = scripted([b"1"])
    list(generate(model, job()._replace(grammar=Grammar("gbnf", "root ::= [0-9]"))))
    assert model.calls[:2] == ["constrain gbnf", "prefill 2"]


def test_a_grammar_that_cannot_be_read_costs_no_computing(scripted: Scripted) -> None:
    model = scripted([b"1"])
    with pytest.raises(RunnerError, match="grammar"):
        list(generate(model, job()._replace(grammar=Grammar("gbnf", ""))))
    assert model.calls == ["constrain gbnf"]
