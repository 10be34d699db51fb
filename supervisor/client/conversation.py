"""A conversation that grows by whole turns. Nothing is ever left out to make room."""

from supervisor.client.asking import Turn

__all__ = ["Conversation"]


class Conversation:
    """Questions and their answers, with the model's instruction before them."""

    def __init__(self, system: str | None = None) -> None:
        self._system = system
        self._turns: list[Turn] = []

    @property
    def instruction(self) -> str | None:
        """What the model is told before all turns; None: nothing."""
        return self._system

    @property
    def has_turns(self) -> bool:
        """Whether a question was answered."""
        return bool(self._turns)

    @property
    def messages(self) -> list[Turn]:
        """The whole conversation, oldest turn first; the instruction comes before all turns."""
        before = [] if self._system is None else [{"role": "system", "content": self._system}]
        return [*before, *self._turns]

    def with_question(self, question: str) -> list[Turn]:
        """Return the messages that ask a question; the conversation stays as it is."""
        return [*self.messages, {"role": "user", "content": question}]

    def keep(self, question: str, answer: str) -> None:
        """Add a question and its answer."""
        self._turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]

    def instruct(self, system: str | None) -> None:
        """Replace the instruction; None: there is none."""
        self._system = system

    def reset(self) -> None:
        """Forget every turn; the instruction stays."""
        self._turns = []
