"""What the page on the API says about requests in OpenAI's shape."""

import re

from contracts.api.openai.chat_request import ChatCompletionRequest
from contracts.api.openai.completion_request import CompletionRequest
from supervisor.domain.planning.backends import BEST_FIRST
from tests.fakes.installation import fixed_installation
from tests.pages import read_page

TEXT = read_page("docs/api.md").text
PART = TEXT[TEXT.index("## OpenAI's shape") :]


def test_every_field_is_told_once() -> None:
    table = PART[PART.index("### Fields") : PART.index("`null` is the same")]
    firsts = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    told = [name for first in firsts for name in re.findall(r"`(\w+)`", first)]
    assert sorted(told) == sorted(set(ChatCompletionRequest.model_fields) | set(CompletionRequest.model_fields))


def test_the_numbers_are_those_of_the_policy() -> None:
    limits = fixed_installation().policies.admission.limits
    assert f"| context | {limits.context_tokens_default} tokens, " in PART
    assert f"at most {limits.context_tokens_max} and the model's maximum" in PART
    assert f"least {limits.context_tokens_default // 2} tokens where" in PART
    assert ", ".join(f"`{name}`" for name in BEST_FIRST) in PART
