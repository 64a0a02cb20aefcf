"""Words drawn into pixels, so that no screenshot and no copy loses them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def words(shape: tuple[int, int], lines: Sequence[str], height: int, right: bool = False) -> np.ndarray:
    """Bool (rows, columns): lines of text in the upper left corner, or in the upper right one.

    Args:
        shape: of the picture.
        height: of a line in pixels; less where a line would not fit into the picture.
    """
    from PIL import Image, ImageDraw, ImageFont

    rows, columns = shape
    picture = Image.new("1", (columns, rows))
    pen = ImageDraw.Draw(picture)
    pen.fontmode = "1"
    widest = max(pen.textlength(line, ImageFont.load_default(64)) / 64 for line in lines)
    size = max(6, min(height, int((columns - 4) / widest), int((rows - 4) / (1.3 * len(lines)))))
    font = ImageFont.load_default(size)
    for n, line in enumerate(lines):
        left = columns - 3 - pen.textlength(line, font) if right else 2
        pen.text((left, 1 + 1.3 * size * n), line, fill=1, font=font)
    return np.array(picture, bool)
