"""The one name that the bindings take from typing_extensions, which Python 3.11 has itself.

The real package imports `inspect` and with it the tokenizer, the parser and the disassembler.
"""

from typing import TypeAlias

__all__ = ["TypeAlias"]
