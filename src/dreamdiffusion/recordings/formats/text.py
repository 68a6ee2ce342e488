"""Bytes of a file -> text: the one place that knows in which code page a recording was written."""

from __future__ import annotations

import codecs

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode_text(content: bytes, codepage: str | None = None) -> str:
    """Return the text of a file that a device or a table program wrote.

    Parameters
    ----------
    content
        The file.
    codepage
        Python's name of the code page that the file states; UTF-8 where it states none.

    Returns
    -------
    text
        Decoded by the byte order mark where there is one, else by `codepage`, else (the bytes are
        no text in it) as Latin-1, in which every byte is a character.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            codepage = encoding
    try:
        return content.decode(codepage or "utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")
