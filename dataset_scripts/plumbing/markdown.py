"""Names that people chose, inside Markdown: shown as they are, and never read as markup."""

import re

# A reference such as &lt; would show as something else; & alone is what it is.
_REFERENCE = re.compile(r"&(?=#?\w+;)")
_SIGNS = re.compile(r"[\\`*~|]|(?<!\w)_|_(?!\w)|\](?=[(\[:])")


def plain(text: str) -> str:
    """Text for a paragraph, a heading or a table's cell, on one line.

    >>> plain("a|b <img src=x> [x](javascript:1) left_lung *")
    'a\\\\|b &lt;img src=x&gt; [x\\\\](javascript:1) left_lung \\\\*'
    """
    text = _REFERENCE.sub("&amp;", " ".join(text.split()))
    return _SIGNS.sub(r"\\\g<0>", text).replace("<", "&lt;").replace(">", "&gt;")


def code(text: str) -> str:
    """Text as code within a line; backticks, which would end it, become quotes.

    >>> code("vit`s")
    "`vit's`"
    """
    return "`" + " ".join(text.split()).replace("`", "'").replace("|", "\\|") + "`"


def fenced(text: str, language: str = "") -> str:
    """Lines as a block of code; the fence is longer than any run of backticks inside."""
    fence = "`" * (1 + max([2, *map(len, re.findall("`+", text))]))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
