"""What a plugin raised, told whatever its exception is like."""

from __future__ import annotations

import pytest

from ssm_backends.raised import LONGEST, in_words, shortened, text_of


@pytest.mark.parametrize("broken", [ValueError, KeyError, AssertionError])
def test_an_exception_without_a_text_is_told(broken: type[Exception]) -> None:
    class OddError(Exception):
        def __str__(self) -> str:
            raise broken

    assert text_of(OddError()) == f"(its __str__ raised {broken.__name__})"
    assert in_words(OddError()) == f"OddError: (its __str__ raised {broken.__name__})"


def test_a_text_is_whole_up_to_its_length_and_then_its_ends() -> None:
    text = "a" * (LONGEST // 2) + "b" * (LONGEST // 2)
    assert shortened(text) == text
    assert in_words(ValueError(text)) == f"ValueError: {text}"
    longer = text + "c"
    told = f"{'a' * (LONGEST // 2)} … {'b' * (LONGEST // 2 - 1)}c ({LONGEST + 1} characters)"
    assert shortened(longer) == told
    assert in_words(ValueError(longer)) == f"ValueError: {told}"
    assert text_of(ValueError(longer)) == longer
