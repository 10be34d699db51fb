from dataclasses import replace
from typing import Any

import click
import pytest

from supervisor.commands.models.quantize import choose_source
from supervisor.domain.planning.installation import Installation
from tests.fakes.installation import fixed_installation


def installation(*quantizations: str) -> Installation:
    found = fixed_installation()
    model = found.models[0]
    return replace(found, models=tuple(replace(model, name="m", quantization=each) for each in quantizations))


def test_the_only_quantization_need_not_be_named() -> None:
    assert choose_source(installation("f16"), "m", None).quantization == "f16"


def test_of_several_quantizations_one_is_named_in_any_spelling() -> None:
    assert choose_source(installation("f16", "q4_k_m"), "m", "Q4_K_M").quantization == "q4_k_m"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("n", None), "n is not installed"),
        (("m", "q8_0"), "m q8_0 is not installed"),
        (("m", None), "m is installed as f16, q4_k_m; say from which with --from"),
    ],
)
def test_a_source_that_is_not_clear_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(click.UsageError, match=message):
        choose_source(installation("f16", "q4_k_m"), *arguments)
