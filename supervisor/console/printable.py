"""Text of a model on a terminal, which would obey its control characters."""

import unicodedata

__all__ = ["printable"]


def printable(text: str) -> str:
    """Return the text with every character that a terminal may obey written as an escape."""
    return "".join(each if _is_harmless(each) else f"\\x{ord(each):02x}" for each in text)


def _is_harmless(character: str) -> bool:
    # Python counts no space but the usual one as printable; the others are only wider or narrower.
    return character in "\n\t" or character.isprintable() or unicodedata.category(character) == "Zs"
