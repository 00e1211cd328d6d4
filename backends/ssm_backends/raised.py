"""What a plugin raised, in words that cannot fail: its exception may have no text, or a megabyte of it."""

from __future__ import annotations

from typing import Final

LONGEST: Final = 4000
"""Characters of a text that are told."""


def in_words(error: BaseException) -> str:
    """The type and the text of an exception."""
    return f"{type(error).__name__}: {shortened(text_of(error))}"


def text_of(error: BaseException) -> str:
    """All that it says."""
    try:
        return str(error)
    except Exception as broken:  # the plugin's own __str__
        return f"(its __str__ raised {type(broken).__name__})"


def shortened(text: str) -> str:
    """Its beginning and its end, where it is too long: a compiler's message may hold the whole program."""
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]} … {text[-half:]} ({len(text)} characters)"
