"""What Hydra and OmegaConf say of wrong words, in one plain line."""

from __future__ import annotations

import re

TYPES = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}
CONVERTED = re.compile(r"Error merging override (?P<word>.*); Value '(?P<value>.*?)' of .* converted to (?P<type>\w+)")


def in_words(error: Exception) -> str:
    """The first lines of an error and of its cause; of a value of a wrong type, which type is expected."""
    text = "; ".join(str(e).splitlines()[0] for e in (error, error.__cause__) if e)
    found = CONVERTED.match(text)
    if found and found["type"] in TYPES:
        return f"{found['word']}: {found['value']!r} is not {TYPES[found['type']]}"
    return text
