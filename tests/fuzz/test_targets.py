"""Every parser of hostile bytes, tried with whatever hypothesis makes and with every small change of a sound input."""

from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import FUZZ_DEPTH
from tests.fuzz.seeds import seeds_of
from tests.fuzz.targets import TARGETS

PARSERS = sorted(set(TARGETS) - {"planted"})
ODD_BYTES = (b"", b"\n", b"\r", b"\0", b"\xff", b'"', b" ", b"9")
PLACES = 150


@pytest.mark.parametrize("target", PARSERS)
@settings(max_examples=200 * FUZZ_DEPTH)
@given(data=st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_no_bytes_break_a_promise(target: str, data: bytes) -> None:
    TARGETS[target](data)


@pytest.mark.parametrize("target", PARSERS)
def test_no_small_change_of_a_sound_input_breaks_a_promise(target: str) -> None:
    for seed in seeds_of(target):
        TARGETS[target](seed)
        step = 1 + len(seed) // (PLACES * FUZZ_DEPTH)
        for place in chain(range(0, len(seed), step), [len(seed)]):
            for byte in ODD_BYTES:
                TARGETS[target](seed[:place] + byte + seed[place:])
                TARGETS[target](seed[:place] + byte + seed[place + 1 :])
