"""From the grammar of a job to GBNF; JSON Schemas are converted by the converter of llama-cpp-python."""

import json
import sys

# Part of the image only, so a type checker outside it finds nothing.
import llama_cpp.llama_grammar as converter  # type: ignore[import-not-found]

from runner.protocol import Grammar, RunnerError

__all__ = ["to_gbnf"]

# A definition in a definition is a call in a call of the converter, of some five frames; the supervisor allows 4,000.
RECURSION_LIMIT = 25_000
_HEX = "[0-9a-fA-F]"
# The converter's own rule lets control characters into strings, and halves of characters, which count as one each.
_ANY_CHARACTER = (
    r'[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" '
    rf"([0-9a-cA-CefEF] {_HEX} {_HEX} {_HEX} | [dD] [0-7] {_HEX} {_HEX}))"
)
# The converter's own rule knows February 31.
_DATE = (
    '[12] [0-9] [0-9] [0-9] "-" ( ( "0" [1-9] | "1" [0-2] ) "-" ( "0" [1-9] | "1" [0-9] | "2" [0-8] ) '
    '| ( "0" [13-9] | "1" [0-2] ) "-" ( "29" | "30" ) | ( "0" [13578] | "1" [02] ) "-31" )'
)
converter.PRIMITIVE_RULES["char"] = converter.BuiltinRule(_ANY_CHARACTER, [])
converter.STRING_FORMAT_RULES["date"] = converter.BuiltinRule(_DATE, [])


class _Converter(converter.SchemaConverter):  # type: ignore[misc]
    """The converter with literals that hold backslashes and characters beyond ASCII."""

    def __init__(self) -> None:
        super().__init__(prop_order={}, allow_fetch=False, dotall=False, raw_pattern=False)

    def _format_literal(self, literal: str) -> str:
        # Every literal is a JSON text: a constant or the name of a property.
        text = json.dumps(json.loads(literal), ensure_ascii=False)
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def to_gbnf(grammar: Grammar) -> str:
    """Return what the answer must match in GBNF; the supervisor has rewritten a schema for the converter.

    Raises:
        RunnerError: grammar_invalid.
    """
    if grammar.kind == "gbnf":
        if not grammar.text or "\0" in grammar.text:
            message = "the grammar is empty or has a character U+0000"
            raise RunnerError("grammar_invalid", message)
        return grammar.text
    sys.setrecursionlimit(RECURSION_LIMIT)
    try:
        schema_converter = _Converter()
        schema_converter.visit(schema_converter.resolve_refs(json.loads(grammar.text), "schema"), "")
        return str(schema_converter.format_grammar())
    except Exception as error:  # noqa: BLE001 - the converter asserts, and its messages quote the schema
        message = f"the schema cannot be converted: {type(error).__name__}"
        raise RunnerError("grammar_invalid", message) from None
