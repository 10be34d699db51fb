import re

import pytest

from supervisor.domain.planning.schema_patterns import PatternError, rewrite_pattern

SAMPLES = [
    "",
    "a",
    "b",
    "z",
    "7",
    "ab",
    "aab",
    "a7",
    "-",
    "_",
    " ",
    "é",
    "2024-01-31",
    "a b",
    "A.b@c.de",
    "\u2028",
    "x" * 9,
]


def converted(pattern: str) -> str:
    """Write a rewritten pattern for Python, which knows the same sets but another escape."""
    return re.sub(r"\\U([0-9A-F]{8})", lambda found: re.escape(chr(int(found[1], 16))), rewrite_pattern(pattern).text)


@pytest.mark.parametrize(
    "pattern",
    [
        "^a$",
        "^[a-z]+$",
        r"^\d{4}-\d{2}-\d{2}$",
        r"^\w+$",
        "^(a|b)*$",
        "^(?:a|ab){1,2}$",
        "^a{2,}b$",
        "^a+?b??$",
        "b",
        "a|7",
        "^a",
        "b$",
        "^.*$",
        "^[^a]$",
        r"^[\w.-]+@[\w.-]+\.[a-z]{2,}$",
        r"^[\d\-]$",
        r"^\-$",
        r"^\x61\u0062?$",
        r"^[\x61-\u007a]$",
        r"^\S$",
        r"^\W$",
        r"^\D+$",
        r"^[^\d]$",
        "^()$",
        "^a{0}$",
    ],
)
def test_a_rewritten_pattern_matches_only_what_the_pattern_matches(pattern: str) -> None:
    text = converted(pattern)
    matching = [sample for sample in SAMPLES if re.fullmatch(text, sample)]
    assert matching
    assert [sample for sample in matching if not re.search(pattern, sample)] == []


def test_every_character_stands_in_a_set() -> None:
    assert rewrite_pattern("^a.b$").text.startswith("^([a][")
    assert rewrite_pattern(r"^\d-x$").text == r"^([0-9][\U0000002D][x])$"


@pytest.mark.parametrize("pattern", ["^.$", r"^[^a]$", r"^[\x00-\uffff]$", r"^[!-~]$"])
def test_no_set_holds_what_ends_a_json_string(pattern: str) -> None:
    text = converted(pattern)
    assert re.fullmatch(text, "b")
    assert not any(re.fullmatch(text, bad) for bad in ['"', "\\", "\n", "\x00", "\x7f"])


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ('^"$', "only as an escape"),
        (r"^\\$", "only as an escape"),
        (r"^\n$", r"\n is not supported"),
        (r"^\bword\b$", r"\b is not supported"),
        (r"^\p{L}$", r"\p is not supported"),
        (r"^(a)\1$", r"\1 is not supported"),
        ("^(?=a)a$", "cannot be read"),
        ("^(?i)a$", "cannot be read"),
        ("^a^b$", "cannot be read"),
        ("^a{,3}$", "cannot be read"),
        ("^[a$", "cannot be read"),
        ("^a]$", "cannot be read"),
        ("^(a$", "not closed"),
        ("^a)$", "not open"),
        ("^a|b$", "an anchor belongs to one alternative"),
        ("a|b$", "an anchor belongs to one alternative"),
        ("^*$", "nothing to repeat"),
        ("^a**$", "nothing to repeat"),
        ("^(|*)$", "nothing to repeat"),
        ("^a{3,2}$", "maximum below its minimum"),
        ("^a{901}$", "more than 900 times"),
        ("^[]$", "a set is empty"),
        ("^[z-a]$", "out of order"),
        (r"^[\d-z]$", "out of order"),
    ],
)
def test_what_cannot_be_rewritten_is_refused_in_words(pattern: str, words: str) -> None:
    with pytest.raises(PatternError, match=re.escape(words)):
        rewrite_pattern(pattern)


def test_an_escaped_dollar_is_a_character_and_not_the_end() -> None:
    assert rewrite_pattern(r"^a\$").text.endswith("*$")
    assert rewrite_pattern(r"^\$$").text == r"^([\U00000024])$"


def test_repetitions_multiply_the_parts() -> None:
    assert rewrite_pattern("^abc$").parts == 3
    assert rewrite_pattern("^((a?){60}b){50}$").parts == 61 * 50
    assert rewrite_pattern("^a{2,}b*$").parts == 4
