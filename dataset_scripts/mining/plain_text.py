"""Plain text: a report's line ends, markup and odd blanks as plain lines of text."""

import html
import re

# Whatever is not there need not be looked for: nearly all reports are plain.
_ODD = re.compile(
    "[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029\ufeff\xa0\u2000-\u200b\u202f\u3000<&*#`]|__[A-Za-z]|[A-Za-z:]__"
)
_LINE_END = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_BLANKS = dict.fromkeys(
    map(ord, "\xa0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u3000"), " "
)
_NOTHING = dict.fromkeys(map(ord, "\ufeff\u200b"), "")
_BREAKING_TAG = re.compile(
    r"</?(?:br|p|div|li|ul|ol|tr|td|th|table|tbody|h[1-6]|section|hr|dl|dt|dd)\b[^<>]{0,200}>", re.IGNORECASE
)
# Where the next line goes on in lower case, only a full stop tells it from a wrapped line.
_BREAK_IN_LOWER_CASE = re.compile(r"(?<=[a-z)])\s*<(?i:br)\s*/?>\s*(?=[a-z])")
_OTHER_TAG = re.compile(
    r"</?(?:b|i|u|em|strong|span|font|sup|sub|small|big|html|body|pre|code|a)\b[^<>]{0,200}>", re.IGNORECASE
)
_ENTITY = re.compile(r"&(?:#\d{1,6}|#x[0-9a-fA-F]{1,5}|[a-zA-Z]{2,10});")
# Bold and headings as Markdown has them; two underscores beside a letter are no mark of de-identification.
_BOLD = re.compile(r"\*{2,3}(?=\S)|(?<=\S)\*{2,3}|(?<![_\w])__(?=[A-Za-z])|(?<=[A-Za-z:.])__(?![_\w])|`{1,3}")
_HASHES = re.compile(r"^[^\S\n]*#{1,6}[^\S\n]+", re.MULTILINE)


def plain_text(text: str) -> str:
    """Text with LF line ends and plain blanks, without a byte order mark, HTML tags and Markdown's marks.

    >>> plain_text("**FINDINGS:**<br>No effusion.\\rHeart &gt; normal.")
    'FINDINGS:\\nNo effusion.\\nHeart > normal.'
    """
    if _ODD.search(text) is None:
        return text
    text = _LINE_END.sub("\n", text)
    if "<" in text:
        text = _OTHER_TAG.sub("", _BREAKING_TAG.sub("\n", _BREAK_IN_LOWER_CASE.sub(".\n", text)))
    if "&" in text:
        text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    text = text.translate(_BLANKS).translate(_NOTHING)
    return _HASHES.sub("", _BOLD.sub("", text))
