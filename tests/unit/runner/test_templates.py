"""The template engine with the settings that chat templates expect, and within its bounds."""

import pytest

from runner.protocol import Message, RunnerError
from runner.templates import ChatRenderer

HI = (Message("user", "Hi"),)


def render(template: str, messages: tuple[Message, ...] = HI) -> str:
    return ChatRenderer(template, "<s>", "</s>").render(messages)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", "<s>Hi</s>"),
        ("{{ messages[0]['role'] }}", "user"),
        ("{% if add_generation_prompt %}go{% endif %}", "go"),
        ("{% if tools %}tools{% endif %}{% if documents is none %}none{% endif %}", "none"),
        ("{% if tools is iterable %}x{% endif %}{% if messages is iterable %}y{% endif %}", "y"),
        ("{% if strftime_now is defined %}clock{% else %}no clock{% endif %}", "no clock"),
        ("Today: {{ strftime_now('%Y') }}.", "Today: ."),
        ("{{ {'a': '<é>'} | tojson }}", '{"a": "<é>"}'),
        ("{{ {'b': 1, 'a': 'é'} | tojson(sort_keys=true, ensure_ascii=true) }}", '{"a": "\\u00e9", "b": 1}'),
        ("{{ {'a': [1, 2]} | tojson(separators=(',', ':')) }}", '{"a":[1,2]}'),
        ("{{ {'a': 1} | tojson(indent=1) }}", '{\n "a": 1\n}'),
        ("  {% if true %}\nx\n  {% endif %}\n", "x\n"),
        ("{% generation %}a{% endgeneration %}{%- generation -%} b {%- endgeneration -%}", "ab"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "1"),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{{ '<b>' }}", "<b>"),
        ("{{ ' a '.strip() }}{{ messages[::-1][0].content }}", "aHi"),
    ],
)
def test_templates_find_what_they_expect(template: str, text: str) -> None:
    assert render(template) == text


@pytest.mark.parametrize(
    ("template", "code"),
    [
        ("{{ raise_exception('no system') }}", "template_refused"),
        ("{{ raise_exception() }}", "template_refused"),
        ("{% if %}", "template_failed"),
        ("{{ nothing.at.all }}", "template_failed"),
        ("{{ secret_function() }}", "template_failed"),
        ("{{ strftime_now.x.y }}", "template_failed"),
        ("{% for i in range(1000000000) %}x{% endfor %}", "template_failed"),
        ("{% for i in range(10000) %}{% for j in range(10000) %}x{% endfor %}{% endfor %}", "template_failed"),
        # It writes little and computes long: the bound on the text does not end it.
        ("{% for i in range(2500) %}{% for j in range(2500) %}{% endfor %}{% endfor %}ok", "template_failed"),
        ("{{ 'x' * 2000000 }}", "template_failed"),
        ("{{ [1] | tojson(separators=(',',)) }}", "template_failed"),
        ("{{ [1] | tojson(colour=1) }}", "template_failed"),
        ("{{ [1] | tojson(indent=1.5) }}", "template_failed"),
        ("{{ raise_exception('a', 'b') }}", "template_failed"),
        ("{% include '/etc/passwd' %}", "template_failed"),
        ("{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", "template_failed"),
    ],
)
def test_a_template_that_goes_wrong_is_told_without_its_words(template: str, code: str) -> None:
    with pytest.raises(RunnerError) as caught:
        render(template)
    assert caught.value.code == code
    assert "system" not in caught.value.message
    assert caught.value.__cause__ is None
