"""What a request's header fields ask for (RFC 9110, 5.6, 8.3, 8.4 and 12.5; RFC 7240). Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from contracts.api.run_operations import EVENT_STREAM

__all__ = ["has_preference", "is_json", "is_uncoded", "prefers_events", "split_elements"]

_JSON = "application/json"
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# A quoted string that has no end reaches to the end of its field. The quantifiers are possessive: fields come from
# outside, and a group that may backtrack takes time that grows with the square of their length.
_QUOTED = r'"(?:[^"\\]|\\.)*+"?+'
_ELEMENT = re.compile(rf'(?:{_QUOTED}|[^",]++)++', re.DOTALL)
_PART = re.compile(rf'(?:{_QUOTED}|[^";]++)++', re.DOTALL)
_PARAMETER = re.compile(rf'({_WORD})=(?:({_WORD})|"((?:[^"\\]|\\.)*+)")', re.DOTALL)
_MEDIA_RANGE = re.compile(rf"\*/\*|{_WORD}/{_WORD}")
_WEIGHT = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_PREFERENCE = re.compile(rf'({_WORD})\s*(?:=\s*({_WORD}|"(?:[^"\\]|\\.)*+"))?', re.DOTALL)
# Every document of this API is UTF-8, so this parameter changes nothing (RFC 8259, 11). No other has a meaning.
_UTF8 = {"charset": "utf-8"}


@dataclass(frozen=True, slots=True)
class _Range:
    """One element of an Accept field."""

    name: str
    parameters: Mapping[str, str]
    weight: float

    def specificity(self, media_type: str) -> int | None:
        """Return how closely it names a media type: 3 with its parameter, 2 exactly, 1 or 0 by wildcards; None: not."""
        if self.parameters not in ({}, _UTF8):
            return None
        if self.name == media_type:
            return 3 if self.parameters else 2
        return {media_type.partition("/")[0] + "/*": 1, "*/*": 0}.get(self.name)


def split_elements(fields: Sequence[str]) -> Iterator[str]:
    """Yield the elements of a list that stands in one or more fields; commas in quoted strings divide nothing."""
    for field in fields:
        yield from filter(None, (found[0].strip() for found in _ELEMENT.finditer(field)))


def prefers_events(accept: Sequence[str]) -> bool:
    """Return whether Accept fields ask for server-sent events rather than for one JSON document.

    The higher weight decides; each media type has the weight of the range that names it most closely. Between equal
    weights the stream must be named: a client that cannot read one names it only by wildcards. Where neither is
    acceptable the answer is JSON, as if the header were absent (RFC 9110, 12.5.1). Malformed elements are passed over.
    """
    ranges = [found for element in split_elements(accept) if (found := _parse_range(element)) is not None]
    events, closeness = _rank(ranges, EVENT_STREAM)
    document, _ = _rank(ranges, _JSON)
    return events > document or (events == document > 0 and closeness > 1)


def has_preference(prefer: Sequence[str], name: str) -> bool:
    """Return whether Prefer fields have a preference that takes no value (RFC 7240, 2)."""
    for element in split_elements(prefer):
        found = _PREFERENCE.fullmatch(_parts(element)[0])
        # An empty value is the same as none.
        if found is not None and found[1].lower() == name and found[2] in {None, '""'}:
            return True
    return False


def is_json(content_type: Sequence[str]) -> bool:
    """Return whether one Content-Type field says JSON, in UTF-8 if it names a charset."""
    if len(content_type) != 1:
        return False
    name, parameters = _parse(content_type[0].strip())
    return name == _JSON and parameters is not None and parameters.get("charset", "utf-8").lower() == "utf-8"


def is_uncoded(content_encoding: Sequence[str]) -> bool:
    """Return whether Content-Encoding fields name no coding; `identity` is none."""
    return {element.lower() for element in split_elements(content_encoding)} <= {"identity"}


def _rank(ranges: Sequence[_Range], media_type: str) -> tuple[float, int]:
    """Return the weight of a media type, and how closely it is named; without any range, 0."""
    named = [(close, each.weight) for each in ranges if (close := each.specificity(media_type)) is not None]
    closeness, weight = max(named, default=(0, 0.0))
    return weight, closeness


def _parse_range(element: str) -> _Range | None:
    name, parameters = _parse(element)
    if parameters is None or not _MEDIA_RANGE.fullmatch(name):
        return None
    weight = parameters.pop("q", "1")
    if "charset" in parameters:
        parameters["charset"] = parameters["charset"].lower()
    return _Range(name, parameters, float(weight)) if _WEIGHT.fullmatch(weight) else None


def _parse(element: str) -> tuple[str, dict[str, str] | None]:
    """Return a media type in small letters and its parameters, None if they are malformed or repeated."""
    name, *parts = _parts(element)
    parameters: dict[str, str] = {}
    for part in filter(None, parts):
        found = _PARAMETER.fullmatch(part)
        if found is None or found[1].lower() in parameters:
            return name.lower(), None
        parameters[found[1].lower()] = found[2] or re.sub(r"\\(.)", r"\1", found[3] or "", flags=re.DOTALL)
    return name.lower(), parameters


def _parts(element: str) -> list[str]:
    parts = [found[0].strip() for found in _PART.finditer(element)]
    return ["", *parts] if not parts or element.startswith(";") else parts
