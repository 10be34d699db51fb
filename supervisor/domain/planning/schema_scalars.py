"""Strings and integers of a JSON Schema, rewritten for the runner's converter."""

import math

from pydantic import JsonValue

from supervisor.domain.planning.schema_patterns import PatternError, rewrite_pattern
from supervisor.domain.planning.schema_places import Schema, refuse

__all__ = ["MAX_REPETITIONS", "express_integer", "express_string", "read_bounds"]

# llama.cpp refuses a repetition whose nested groups come to 2,000 rules, two for each time.
MAX_REPETITIONS = 900
MAX_ENUMERATED = 256
FORMATS = ("date", "date-time", "time", "uuid")


def _read_count(schema: Schema, keyword: str, at: str) -> int | None:
    if keyword not in schema:
        return None
    value = schema[keyword]
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != int(value):
        refuse(keyword, at, "it needs a whole number that is not negative")
    if value > MAX_REPETITIONS:
        refuse(keyword, at, f"a grammar of sensible size counts to {MAX_REPETITIONS} at most")
    return int(value)


def read_bounds(schema: Schema, lowest: str, highest: str, at: str) -> tuple[int, int | None]:
    """Return the values of two keywords such as minItems and maxItems; None: no maximum.

    Raises:
        Refusal: ``json_schema_unsupported``.
    """
    low, high = _read_count(schema, lowest, at) or 0, _read_count(schema, highest, at)
    if high is not None and high < low:
        refuse(highest, at, f"it is less than {lowest}")
    return low, high


def express_string(schema: Schema, at: str) -> tuple[Schema, int]:
    """Return a schema of strings, and how many parts of a grammar it comes to.

    Raises:
        Refusal: ``json_schema_unsupported``.
    """
    for keyword, others in (("pattern", {"format", "minLength", "maxLength"}), ("format", {"minLength", "maxLength"})):
        if keyword in schema and schema.keys() & others:
            refuse(min(schema.keys() & others), at, f"it stands beside {keyword}, which is expressed only alone")
    if "pattern" in schema:
        return _express_pattern(schema["pattern"], at)
    if "format" in schema:
        if schema["format"] not in FORMATS:
            refuse("format", at, f"the formats that are enforced are {', '.join(FORMATS)}")
        return {"type": "string", "format": schema["format"]}, 1
    low, high = read_bounds(schema, "minLength", "maxLength", at)
    upper: Schema = {} if high is None else {"maxLength": high}
    return {"type": "string", "minLength": low, **upper}, max(low, high or 0)


def _express_pattern(pattern: JsonValue, at: str) -> tuple[Schema, int]:
    if not isinstance(pattern, str):
        refuse("pattern", at, "it needs a regular expression")
    try:
        rewritten = rewrite_pattern(pattern)
    except PatternError as error:
        refuse("pattern", at, str(error))
    return {"type": "string", "pattern": rewritten.text}, rewritten.parts


def express_integer(schema: Schema, at: str) -> tuple[Schema, int]:
    """Return a range of integers as a list of them, and how many they are.

    Raises:
        Refusal: ``json_schema_unsupported``; the range has no two ends, or is empty or long.
    """
    bounds: dict[str, int | float] = {}
    for keyword in ("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"):
        value = schema.get(keyword)
        if keyword in schema:
            if isinstance(value, bool) or not isinstance(value, int | float):
                refuse(keyword, at, "it needs a number")
            bounds[keyword] = value
    first = min(bounds)
    lows = [math.ceil(bounds["minimum"])] if "minimum" in bounds else []
    lows += [math.floor(bounds["exclusiveMinimum"]) + 1] if "exclusiveMinimum" in bounds else []
    highs = [math.floor(bounds["maximum"])] if "maximum" in bounds else []
    highs += [math.ceil(bounds["exclusiveMaximum"]) - 1] if "exclusiveMaximum" in bounds else []
    if not lows or not highs:
        refuse(first, at, "a range of integers is expressed where it has two ends")
    step = bounds.get("multipleOf", 1)
    if step <= 0 or step != int(step):
        refuse("multipleOf", at, "it needs a whole number above zero")
    low, high = -(-max(lows) // int(step)), min(highs) // int(step)
    if high < low:
        refuse(first, at, "the range holds no integer")
    if high - low >= MAX_ENUMERATED:
        refuse(first, at, f"the range holds more than {MAX_ENUMERATED} integers, and each is listed")
    return {"enum": [int(step) * factor for factor in range(low, high + 1)]}, high - low + 1
