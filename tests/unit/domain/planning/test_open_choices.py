"""What is chosen where a request names a model only."""

from dataclasses import replace

import pytest

from supervisor.domain.errors import Refusal
from supervisor.domain.planning.installation import Backend, Installation
from supervisor.domain.planning.open_choices import Room, choose_backend, choose_room, find_model, model_id
from tests.fakes.installation import IMAGE, fixed_installation

FIXED = fixed_installation()
(ONLY,) = FIXED.models
NAME = ONLY.name
SECOND = replace(ONLY, quantization="q8_0")
OTHER = replace(ONLY, name="other", quantization="f16")
LIMITS = FIXED.policies.admission.limits
DEFAULT = LIMITS.context_tokens_default


@pytest.mark.parametrize("named", [NAME, f"{NAME}:q4_1"])
def test_the_only_quantization_has_two_names(named: str) -> None:
    assert find_model(named, (ONLY, OTHER)) is ONLY


def test_one_of_several_quantizations_is_named_in_full() -> None:
    assert find_model(f"{NAME}:q8_0", (ONLY, SECOND, OTHER)) is SECOND


@pytest.mark.parametrize(
    ("named", "code", "available"),
    [
        (NAME, "unknown_quantization", (f"{NAME}:q4_1", f"{NAME}:q8_0")),
        (f"{NAME}:f16", "unknown_quantization", (f"{NAME}:q4_1", f"{NAME}:q8_0")),
        (f"{NAME}:", "unknown_quantization", (f"{NAME}:q4_1", f"{NAME}:q8_0")),
        (f"{NAME}:q4_1:", "unknown_quantization", (f"{NAME}:q4_1", f"{NAME}:q8_0")),
        ("gpt-4o", "unknown_model", ("other:f16", f"{NAME}:q4_1", f"{NAME}:q8_0")),
        ("", "unknown_model", ("other:f16", f"{NAME}:q4_1", f"{NAME}:q8_0")),
    ],
)
def test_a_name_without_exactly_one_file_is_refused_with_those_that_fit(
    named: str, code: str, available: tuple[str, ...]
) -> None:
    with pytest.raises(Refusal) as caught:
        find_model(named, (ONLY, SECOND, OTHER))
    assert (caught.value.code, caught.value.available) == (code, available)
    assert [each.field for each in caught.value.errors] == ["/model"]


def test_a_name_that_ends_in_a_colon_is_refused_where_one_file_would_fit() -> None:
    with pytest.raises(Refusal, match="not installed in this quantization"):
        find_model(f"{NAME}:", (ONLY,))


def test_every_listed_name_is_found() -> None:
    models = (ONLY, SECOND, OTHER)
    assert [find_model(model_id(each), models) for each in models] == list(models)


def with_backends(*backends: Backend) -> Installation:
    return replace(FIXED, backends=backends)


def test_the_best_backend_that_is_installed_and_runs_here_is_chosen() -> None:
    better = Backend("cpu_avx512", frozenset({"avx512f"}), IMAGE)
    chosen = Backend("cpu_avx2", frozenset({"avx2"}), IMAGE)
    worse = Backend("cpu_x86_64", frozenset({"sse2"}), IMAGE)
    assert choose_backend(with_backends(worse, chosen, better)) == "cpu_avx2"
    assert choose_backend(with_backends(worse, replace(chosen, image_id=None))) == "cpu_x86_64"


@pytest.mark.parametrize(
    ("backends", "words"),
    [
        ((Backend("cpu_avx2", frozenset({"avx2"}), None),), "weos-engine images build cpu_avx2"),
        ((Backend("cpu_avx512", frozenset({"avx512f"}), IMAGE),), r"no installed backend runs on this processor\Z"),
    ],
)
def test_without_a_backend_the_way_out_is_named(backends: tuple[Backend, ...], words: str) -> None:
    with pytest.raises(Refusal, match=words) as caught:
        choose_backend(with_backends(*backends))
    assert caught.value.code == "image_missing"


@pytest.mark.parametrize("asked", [1, 100, DEFAULT, 8000])
@pytest.mark.parametrize("prompt", [1, 300, DEFAULT, 20_000])
@pytest.mark.parametrize("context_max", [16, 512, 2048, 8192, 131_072])
def test_prompt_and_answer_surely_fit_wherever_the_largest_context_has_room(
    asked: int, prompt: int, context_max: int
) -> None:
    most = min(context_max, LIMITS.context_tokens_max)
    room = choose_room(asked, prompt, LIMITS, context_max)
    assert room.max_tokens == asked
    assert room.context_tokens <= most
    assert room.context_tokens >= min(most, prompt + asked)
    # Never more than twice what is needed, and the default where that is enough.
    assert room.context_tokens == most or room.context_tokens < max(2 * (prompt + asked), DEFAULT + 1)


@pytest.mark.parametrize(
    ("prompt", "context_max", "room"),
    [
        # The default context, as far as the prompt leaves it.
        (300, 8192, Room(2048, 1748)),
        (1024, 8192, Room(2048, 1024)),
        # At least half the default context, in the next larger one.
        (1025, 8192, Room(4096, 3071)),
        (9000, 131_072, Room(16_384, 7384)),
        # Never more than the policy allows.
        (21_000, 131_072, Room(32_768, 8192)),
        # A prompt that may fill the whole context mostly does not.
        (20_000, 8192, Room(8192, 256)),
        (8000, 8192, Room(8192, 256)),
        (300, 256, Room(256, 128)),
        (300, 1, Room(1, 1)),
    ],
)
def test_an_answer_without_a_limit_has_the_room_that_surely_fits(prompt: int, context_max: int, room: Room) -> None:
    assert choose_room(None, prompt, LIMITS, context_max) == room
