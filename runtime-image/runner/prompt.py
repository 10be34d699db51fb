"""From a job to the tokens of its prompt: special tokens only where they were asked for, one beginning at most."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from runner.marking import Span, choose_mark, find_sought, mark_text, strip_marks, to_spans
from runner.protocol import Job, Message, RunnerError

__all__ = ["Renderer", "SpecialToken", "Tokenizer", "find_stop_tokens", "tokenize_job"]

# What a token that strips takes away, as isspace(3) has it.
WHITE_SPACE = " \t\n\v\f\r"


class SpecialToken(NamedTuple):
    """A token that stands for itself, not for text."""

    id: int
    text: str
    is_control: bool
    """False: the tokenizer finds its text in every text, also where special tokens are not asked for."""
    strips_left: bool
    strips_right: bool


class Tokenizer(Protocol):
    """The vocabulary of the model."""

    def tokenize(self, text: str, parse_special: bool) -> list[int]:
        """Return a text's tokens, without those that the model puts at the beginning or end of its input."""
        ...

    def special_token(self, token_id: int) -> SpecialToken | None:
        """Return what is special about a token, or None."""
        ...

    @property
    def beginning(self) -> int | None:
        """The token that the model's input begins with, or None."""
        ...

    @property
    def ending(self) -> int | None:
        """The token that the model's input ends with where it is not a chat, or None."""
        ...


class Renderer(Protocol):
    """The chat template of the model."""

    @property
    def source(self) -> str:
        """The template."""
        ...

    def render(self, messages: Sequence[Message]) -> str:
        """Return the text of a conversation."""
        ...


def tokenize_job(job: Job, tokenizer: Tokenizer, renderer: Renderer | None) -> list[int]:
    """Return the tokens of a job's prompt.

    Raises:
        RunnerError: template_refused or template_failed.
    """
    if job.prompt is not None:
        tokens = tokenizer.tokenize(job.prompt, job.parse_special)
        ends = [] if tokenizer.ending is None or not tokens else [tokenizer.ending]
        return _with_beginning(tokens + ends, tokenizer) if tokens else []
    if renderer is None:
        message = "the model file carries no chat template"
        raise RunnerError("template_failed", message)
    spans = render_spans(job.messages or (), renderer, tokenizer)
    return _with_beginning(_tokenize_spans(spans, renderer.source, tokenizer), tokenizer)


def find_stop_tokens(stop: Sequence[str], tokenizer: Tokenizer) -> set[int]:
    """Return the special tokens whose names are among the texts that end an answer."""
    tokens = (tokenizer.tokenize(text, True) for text in stop)
    return {found[0] for found in tokens if len(found) == 1 and tokenizer.special_token(found[0]) is not None}


def _with_beginning(tokens: list[int], tokenizer: Tokenizer) -> list[int]:
    beginning = tokenizer.beginning
    return tokens if beginning is None or tokens[:1] == [beginning] else [beginning, *tokens]


def render_spans(messages: Sequence[Message], renderer: Renderer, tokenizer: Tokenizer) -> list[Span]:
    """Render a conversation and return which stretches of the text come from its messages.

    A template that looks into a text (for a `</think>`, say) does not see through marks. The text is therefore rendered
    without marks too; where the two differ, the pieces that the template looks for stay unmarked, unless special tokens
    of the template's kind arise.

    Raises:
        RunnerError: template_refused or template_failed.
    """
    mark = choose_mark([renderer.source, *(message.content for message in messages)])
    if mark is None:
        message = "the messages hold every mark that could tell them from the template"
        raise RunnerError("template_failed", message)
    plain = renderer.render(messages)
    marked = renderer.render(_marked(messages, mark, ()))
    spans = to_spans(marked, mark)
    if strip_marks(marked, mark) == plain:
        return spans
    sought = [text for text in find_sought(renderer.source) if not _holds_control(text, tokenizer)]
    looked_into = renderer.render(_marked(messages, mark, sought))
    wider = to_spans(looked_into, mark)
    if _turns_of(wider, sought, tokenizer) != _turns_of(spans, sought, tokenizer):
        # The pieces together form a turn: the text stays text, at the price of what the template looked for.
        return spans
    if strip_marks(looked_into, mark) != plain:
        message = "the template computes with the texts of the messages, so their origin cannot be followed"
        raise RunnerError("template_failed", message)
    return wider


def _marked(messages: Sequence[Message], mark: str, plain: Sequence[str]) -> list[Message]:
    return [message._replace(content=mark_text(message.content, mark, plain)) for message in messages]


def _holds_control(text: str, tokenizer: Tokenizer) -> bool:
    return any(special.is_control for special in _specials_in(text, tokenizer))


def _turns_of(spans: Sequence[Span], sought: Sequence[str], tokenizer: Tokenizer) -> list[int]:
    """Return the special tokens that the template writes, without those that it only looks for."""
    found = (special for span in spans if not span.is_callers for special in _specials_in(span.text, tokenizer))
    return [special.id for special in found if special.is_control or special.text not in sought]


def _specials_in(text: str, tokenizer: Tokenizer) -> list[SpecialToken]:
    specials = (tokenizer.special_token(token_id) for token_id in tokenizer.tokenize(text, True))
    return [special for special in specials if special is not None and special.text]


def _tokenize_spans(spans: Sequence[Span], source: str, tokenizer: Tokenizer) -> list[int]:
    turn_words = _turn_words(spans, source, tokenizer)
    tokens: list[int] = []
    text = ""
    strips = False
    for span in spans:
        rest = span.text
        for special in [] if span.is_callers else _specials_in(rest, tokenizer):
            before, _, rest = rest.partition(special.text)
            between = _strip(text + before, left=strips, right=special.strips_left)
            tokens += [*_tokenize_text(between, turn_words, tokenizer), special.id]
            text, strips = "", special.strips_right
        text += rest
    return tokens + _tokenize_text(_strip(text, left=strips, right=False), turn_words, tokenizer)


def _strip(text: str, *, left: bool, right: bool) -> str:
    text = text.lstrip(WHITE_SPACE) if left else text
    return text.rstrip(WHITE_SPACE) if right else text


def _turn_words(spans: Sequence[Span], source: str, tokenizer: Tokenizer) -> set[str]:
    """Return the texts with which the template makes turns and which the tokenizer would find in every text."""
    texts = [source, *(span.text for span in spans if not span.is_callers)]
    specials = (special for text in texts for special in _specials_in(text, tokenizer))
    return {special.text for special in specials if not special.is_control and special.text.strip()}


def _tokenize_text(text: str, turn_words: set[str], tokenizer: Tokenizer) -> list[int]:
    """Return the tokens of a text that holds no special token of the template; what looks like one stays text."""
    cuts = sorted({at + 1 for word in turn_words for at in _occurrences(text, word)})
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return [token_id for piece in pieces if piece for token_id in tokenizer.tokenize(piece, False)]


def _occurrences(text: str, word: str) -> list[int]:
    found, at = [], text.find(word)
    while at >= 0:
        found.append(at)
        at = text.find(word, at + 1)
    return found
