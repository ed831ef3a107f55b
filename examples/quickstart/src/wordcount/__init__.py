"""Count the words of a text."""

import re
from collections import Counter

__all__ = ["count"]

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


def count(text: str) -> Counter:
    """How often each word occurs, whatever its case: `count("To be or not to be")["be"] == 2`."""
    return Counter(word.casefold() for word in _WORD.findall(text))
