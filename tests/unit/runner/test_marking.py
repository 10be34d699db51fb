import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.marking import MARKS, Span, choose_mark, find_sought, mark_text, strip_marks, to_spans

MARK = MARKS[0]


@given(st.text())
def test_without_its_marks_a_text_is_as_it_was(text: str) -> None:
    mark = choose_mark([text])
    assert mark is not None
    assert strip_marks(mark_text(text, mark), mark) == text
    assert strip_marks(mark_text(text, mark, ["<a>", "b"]), mark) == text


@given(st.text(alphabet="<|im_end|> \n"), st.text(alphabet="<|im_end|> \n"))
def test_what_is_marked_is_the_callers_and_the_rest_the_templates(before: str, text: str) -> None:
    spans = to_spans(before + mark_text(text, MARK), MARK)
    assert "".join(span.text for span in spans) == before + text
    callers = "".join(span.text for span in spans if span.is_callers)
    assert "".join(callers.split()) == "".join(text.split())


def test_white_space_between_the_callers_characters_is_theirs() -> None:
    rendered = "A " + mark_text("b  c\nd", MARK) + " E"
    assert to_spans(rendered, MARK) == [
        Span("A ", is_callers=False),
        Span("b  c\nd", is_callers=True),
        Span(" E", is_callers=False),
    ]


def test_a_mark_that_lost_its_character_is_dropped() -> None:
    assert to_spans(MARK + "A" + MARK, MARK) == [Span("A", is_callers=True)]


def test_pieces_may_stay_unmarked() -> None:
    assert mark_text("x</t>y", MARK, ["</t>"]) == f"x{MARK}</t>y{MARK}"


def test_a_mark_occurs_in_none_of_the_texts() -> None:
    assert choose_mark(["a", MARKS[0]]) == MARKS[1]
    assert choose_mark(["".join(MARKS)]) is None


@pytest.mark.parametrize(
    ("template", "sought"),
    [
        ("{% if '</think>' in content %}", ["</think>"]),
        ('{% if "a" not in content %}', ["a"]),
        ("{{ content.split('</think>')[-1].lstrip('\\n') }}", ["</think>"]),
        ("{{ content.startswith('<r>') and content.endswith('</r>') }}", ["</r>", "<r>"]),
        ("{{ '<|im_start|>' + role }}", []),
        ("{% if ('it\\'s') in x %}", ["it's"]),
    ],
)
def test_only_what_a_template_looks_for_is_found(template: str, sought: list[str]) -> None:
    assert find_sought(template) == sought
