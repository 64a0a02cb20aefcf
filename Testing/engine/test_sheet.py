"""The contact sheet: dark where nothing changed, the best slice first, its scale and its figures beside it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from braindiffusion.export.pictures import areas, telling_slices
from braindiffusion.export.sheet import Sheet


@pytest.fixture
def stack() -> SimpleNamespace:
    tone = SimpleNamespace(zero=0.0, gain=0.01)
    return SimpleNamespace(intensity_of=lambda _s: tone, placement=SimpleNamespace(pitch=(1.0, 2.0, 5.0)))


def test_the_difference_is_black_where_nothing_changed_and_has_a_scale(stack: SimpleNamespace) -> None:
    planes = np.full((2, 20, 20), 50.0, np.float32)
    sheet = Sheet(planes, stack, [4, 2], ("original", "difference"), 1, ["lesion 30 mm²", "lesion 8 mm²"])
    change = np.zeros((20, 20), np.float32)
    change[5:8, 5:8] = -30.0
    for row in range(2):
        sheet.difference(row, 1, change)
    (picture,) = sheet.axes[0, 1].images
    rgba = picture.cmap(picture.norm(np.array([-40.0, 0.0, 40.0])))
    assert rgba[1, :3].max() < 0.02  # unchanged: as dark as the page
    assert rgba[0, 2] > rgba[0, 0]  # darker: cold
    assert rgba[2, 0] > rgba[2, 2]  # brighter: warm
    (scale,) = sheet.axes[0, 1].child_axes
    assert [tick.get_text() for tick in scale.get_yticklabels()] == ["-40", "0", "+40"]
    assert not sheet.axes[1, 1].child_axes
    texts = {text.get_text() for text in sheet.axes[0, 0].texts}
    assert {"slice 4, lesion 30 mm²", "R", "L"} <= texts


def test_the_slice_with_the_largest_lesion_comes_first(stack: SimpleNamespace) -> None:
    mask = np.zeros((9, 10, 10), bool)
    lesion = np.zeros_like(mask)
    mask[1:8] = True
    for s, size in ((2, 3), (5, 8), (6, 5)):
        lesion[s, :size, :size] = True
    result = SimpleNamespace(on_grid={"mask": mask, "lesion": lesion}, stack=SimpleNamespace(brain=mask))
    chosen = telling_slices(result)
    assert chosen[0] == 5
    drawn = [lesion[s].sum() for s in chosen]
    assert drawn == sorted(drawn, reverse=True)
    assert areas(lesion[[5]], stack) == ["lesion 128 mm²"]
