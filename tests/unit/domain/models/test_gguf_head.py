"""Access to the values of a head, each of the type that llama.cpp reads."""

from tests.gguf_files import parse_composed, sound_keys


def test_a_value_of_another_type_is_no_list_of_texts() -> None:
    head = parse_composed(sound_keys() | {"a.text": "a", "a.numbers": [1, 2], "a.texts": ["a", "", "b"]})
    assert list(head.strings("a.texts")) == [b"a", b"", b"b"]
    assert [list(head.strings(name)) for name in ("a.text", "a.numbers", "a.missing")] == [[], [], []]


def test_a_list_is_no_text_and_no_number() -> None:
    head = parse_composed(sound_keys() | {"a.numbers": [1, 2], "a.text": "a", "a.flags": [True, False]})
    assert (head.text("a.numbers"), head.text("a.missing"), head.text("a.text")) == (None, None, "a")
    assert (head.numbers("a.numbers"), head.numbers("a.flags"), head.numbers("a.text")) == ((1, 2), (1, 0), None)
    assert (head.number("a.missing"), head.flag("a.missing")) == (None, None)
