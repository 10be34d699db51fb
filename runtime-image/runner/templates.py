"""The template engine: MiniJinja with what public chat templates expect, within bounds.

A template is part of a model file and so of unknown origin. It is compiled and rendered under the second lock only.
"""

import json
import re
from collections.abc import Sequence

import minijinja

from runner.protocol import Message, RunnerError

__all__ = ["TEXT_CHARS_MAX", "ChatRenderer"]

# Instructions of MiniJinja; the longest public template with 512 messages takes some 200,000.
FUEL = 5_000_000
# The longest conversation, with a mark behind each character, and as much again.
TEXT_CHARS_MAX = 1 << 20
# Hugging Face's renderer lets these tags mark what a model is trained on; they write nothing.
_TRAINING_TAG = re.compile(r"\{%(-?)\s*(end)?generation\s*(-?)%\}")


class _Refused(Exception):
    """The template has called `raise_exception`."""


def _raise_exception(_message: object = None) -> None:
    raise _Refused


def _without_date(_format: object = None) -> str:
    return ""


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Sequence[str] | None = None,
    sort_keys: bool = False,
) -> str:
    # The signature of Hugging Face's renderer.
    comma_colon = None if separators is None else (separators[0], separators[1])
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=comma_colon, sort_keys=sort_keys)


def _is_iterable(value: object) -> bool:
    # MiniJinja counts `none` among them.
    return hasattr(value, "__iter__")


def _replace_training_tag(match: re.Match[str]) -> str:
    return f"{{%{match[1]} {'endif' if match[2] else 'if true'} {match[3]}%}}"


class ChatRenderer:
    """Renders one model's chat template."""

    def __init__(self, source: str, bos_text: str, eos_text: str) -> None:
        """Let the engine render once, so that it has nothing left to open or to draw at random."""
        self.source = source
        self._template = _TRAINING_TAG.sub(_replace_training_tag, source)
        self._bos_text = bos_text
        self._eos_text = eos_text
        _new_environment().render_str("{% for x in [{'a': 1}] %}{{ x | tojson }}{{ x.a }}{% endfor %}")

    def render(self, messages: Sequence[Message]) -> str:
        """Return the text of a conversation, up to where the model's answer begins.

        Raises:
            RunnerError: template_refused or template_failed.
        """
        try:
            text = self._render(messages)
        except _Refused:
            message = "the template refuses the messages"
            raise RunnerError("template_refused", message) from None
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - the functions above raise what a template's arguments make them raise
            # `from None`: the cause may quote a message.
            message = "the template cannot be rendered"
            raise RunnerError("template_failed", message) from None
        if len(text) > TEXT_CHARS_MAX:
            message = f"the template writes more than {TEXT_CHARS_MAX} characters"
            raise RunnerError("template_failed", message)
        return text

    def _render(self, messages: Sequence[Message]) -> str:
        values = {
            "messages": [message._asdict() for message in messages],
            "add_generation_prompt": True,
            "bos_token": self._bos_text,
            "eos_token": self._eos_text,
            "tools": None,
            "documents": None,
        }
        environment = _new_environment()
        try:
            text: str = environment.render_str(self._template, **values)
        except minijinja.TemplateError:
            if "strftime_now" not in self.source:
                raise
            # Some templates write the date without asking whether there is a clock. There is none: no date is written.
            environment.add_global("strftime_now", _without_date)
            text = environment.render_str(self._template, **values)
        return text


def _new_environment() -> minijinja.Environment:
    return minijinja.Environment(
        fuel=FUEL,
        debug=False,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_escape_callback=lambda _name: False,
        filters={"tojson": _tojson},
        tests={"iterable": _is_iterable},
        globals={"raise_exception": _raise_exception},
    )
