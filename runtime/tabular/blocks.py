"""Plain text cut by the block: at every delimiter and end of line at once, and not character by character.

A block counts only where this is proved to give what the standard library's reader would: no quote in it, and every
line of the table's width. Whatever else a block holds is left to that reader.
"""

from __future__ import annotations

from runtime.tabular.sniff import Dialect

__all__ = ("split",)


def split(text: str, dialect: Dialect, width: int) -> list[list[str]] | None:
    """Return the cells of whole lines, column by column, or None where that needs the reader."""
    mark, step = dialect.delimiter, width + 1
    if (dialect.quote is not None and dialect.quote in text) or text[-1:] != "\n":
        return None
    if "\r" in text:
        text = text.replace("\r\n", "\n")
        if "\r" in text:
            return None
    if dialect.space and (text.startswith(" ") or "\n " in text or f"{mark} " in text):
        return None
    if not dialect.doubled and "\\" in text:
        return None
    rows = text.count("\n")
    cells = text[:-1].replace("\n", f"{mark}\n{mark}").split(mark)
    # As many ends as there are lines, and all of them where a row of the right width has its own.
    if len(cells) != rows * step - 1 or cells[width::step].count("\n") != rows - 1:
        return None
    if width == 1 and "" in cells:
        return None
    return [cells[place::step] for place in range(width)]
