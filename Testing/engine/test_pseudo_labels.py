"""Masks that nobody drew: made from labels of whole slices only, kept where two opinions meet, left open elsewhere."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_training import simulated_slices, write_pack

from braindiffusion.errors import PackError, SettingsError
from braindiffusion.finders.contract import Found
from braindiffusion.training import pseudo_labels as made
from braindiffusion.training.datasets import load_data
from braindiffusion.training.packs import Pack, load_pack
from braindiffusion.training.pseudo_labels import PseudoSettings, agreed, pseudo_labels, write_pseudo_labels

SPEC = {"kind": "packs", "packs": ["pseudo.npz"], "select": "all", "grid": 32}


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    return load_pack(write_pack(tmp_path / "tiny.npz"))


@pytest.fixture(autouse=True)
def two_opinions(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Saliency marks what is bright; healing makes it dark, on its left part only in the slices of ``apart``."""
    told = SimpleNamespace(probability=0.9, level=0.7, apart=set(), looked=[])

    def find(stack, settings, wanted, device):
        told.looked.append(int(wanted.sum()))
        maps = (stack.images > told.level) * wanted[:, None, None]
        return Found(maps.astype(np.float32), np.where(wanted, told.probability, np.nan), wanted)

    def heal(stack, region, model, settings, device):
        healed = np.where(region, 0.4, stack.images)
        for s in told.apart:
            healed[s] = stack.images[s]
            healed[s, :, :76] = np.where(region[s, :, :76], 0.4, healed[s, :, :76])
        return healed[None].astype(np.float32), stack.images, None

    card = {
        "grid": 128,
        "sha256": "-",
        "operating_points": {"dif_fuse": {"grow_level": 0.7, "threshold": 0.1, "anomaly": "bright"}},
    }
    model = SimpleNamespace(name="model", card=card, device="cpu")
    monkeypatch.setattr(made, "find_saliency", find)
    monkeypatch.setattr(made, "heal_slices", heal)
    monkeypatch.setattr(made, "main_model", lambda settings, device: model)
    monkeypatch.setattr(made, "load_model", lambda name, device: model)
    monkeypatch.setattr("braindiffusion.volume.brain.network_brain", lambda *_, **__: None)
    return told


def kept(labels: made.PseudoLabels, tmp_path: Path) -> Pack:
    write_pseudo_labels(labels, tmp_path / "pseudo.npz")
    return load_pack(tmp_path / "pseudo.npz")


def test_two_opinions() -> None:
    a, b = np.zeros((2, 1, 4), bool), np.zeros((2, 1, 4), bool)
    a[0, 0, :2] = b[0, 0, 1:3] = True
    both, one, agreement = agreed(a, b)
    assert both[0, 0].tolist() == [False, True, False, False]
    assert one[0, 0].tolist() == [True, False, True, False]
    assert agreement.tolist() == [0.5, 0.0]


def test_masks_are_found_where_both_opinions_meet(pack: Pack, tmp_path: Path) -> None:
    new = kept(pseudo_labels(pack, PseudoSettings()), tmp_path)
    drawn = pack.select(pack.split != "test")
    assert new.patient.tolist() == drawn.patient.tolist()
    assert new.split.tolist() == drawn.split.tolist()
    assert new.position.tolist() == drawn.position.tolist()
    assert np.array_equal(new.images, drawn.images)
    overlap = 2 * (new.masks & drawn.masks).sum() / (new.masks.sum() + drawn.masks.sum())
    assert overlap > 0.9  # the simulated lesion is what is bright
    healthy = ~drawn.masks.any((1, 2))
    assert not new.masks[healthy].any()
    assert not new.unsure[healthy].any()


def test_of_a_drawn_mask_only_is_used_that_there_is_one(tmp_path: Path) -> None:
    """One pixel in a corner serves as well as the lesion's outline."""
    truth = simulated_slices()
    corner = np.zeros((24, 128, 128), bool)
    corner[1::2, 0, 0] = True
    arrays = []
    for name, bits in (("drawn", truth["mask_bits"]), ("corner", np.packbits(corner, axis=-1))):
        pack = load_pack(write_pack(tmp_path / f"{name}.npz", mask_bits=bits))
        arrays.append(pseudo_labels(pack, PseudoSettings()).arrays)
    assert arrays[0].keys() == arrays[1].keys()
    assert all(np.array_equal(arrays[0][k], arrays[1][k]) for k in arrays[0])


def test_where_the_opinions_part_a_pixel_is_open_and_a_slice_is_where_they_hardly_meet(
    pack: Pack, tmp_path: Path, two_opinions: SimpleNamespace
) -> None:
    two_opinions.apart = {1}
    strict, lenient = (kept(pseudo_labels(pack, PseudoSettings(agreement=a)), tmp_path) for a in (0.75, 0.05))
    assert strict.unsure[1].all()
    assert not strict.masks[1].any()
    lesion = pack.masks[1]
    assert lenient.masks[1].any()
    assert (lenient.unsure[1] & lesion).sum() > 0.2 * lesion.sum()
    assert not (lenient.unsure & lenient.masks).any()
    assert strict.masks[3].any()


@pytest.mark.parametrize("changes", [{"least_probability": 0.95}, {"least_mm2": 1e6}])
def test_a_slice_the_classifier_doubts_or_with_a_speck_is_left_open(
    pack: Pack, tmp_path: Path, changes: dict[str, float]
) -> None:
    labels = pseudo_labels(pack, PseudoSettings(**changes))
    new = kept(labels, tmp_path)
    assert not new.masks.any()
    assert new.unsure.all((1, 2)).tolist() == pack.masks[pack.split != "test"].any((1, 2)).tolist()
    assert {row["state"] for row in labels.rows} == {"healthy", "unsure"}


def test_what_is_open_teaches_nothing_and_does_not_pass_for_healthy(
    pack: Pack, tmp_path: Path, two_opinions: SimpleNamespace
) -> None:
    two_opinions.apart = {1}
    kept(pseudo_labels(pack, PseudoSettings(agreement=0.75)), tmp_path)
    data = load_data(SPEC, tmp_path, tmp_path / "cache")
    again = load_data(SPEC, tmp_path, tmp_path / "cache")
    assert data.unsure is not None
    assert data.unsure[1].all()
    assert np.array_equal(again.unsure, data.unsure)
    assert data.tensors()["unsure"].shape == data.tensors()["lesion"].shape
    free = load_data({**SPEC, "select": "lesion_free", "crop": [28, 24]}, tmp_path)
    assert 1 not in free.row
    assert free.unsure.shape[1:] == free.image.shape[1:] == (28, 24)


def test_packs_with_and_without_open_pixels_go_together(pack: Pack, tmp_path: Path) -> None:
    kept(pseudo_labels(pack, PseudoSettings(least_mm2=1e6)), tmp_path)
    data = load_data({**SPEC, "packs": ["tiny.npz", "pseudo.npz"]}, tmp_path)
    assert not data.unsure[data.source == "tiny"].any()
    assert data.unsure[data.source == "pseudo"].any()


def test_a_limit_leaves_other_lesion_slices_out(pack: Pack, two_opinions: SimpleNamespace) -> None:
    labels = pseudo_labels(pack, PseudoSettings(limit=3))
    assert sum(two_opinions.looked) == 3
    assert len(labels.rows) == 9 + 3


def test_a_row_says_how_each_mask_came_about(pack: Pack, tmp_path: Path) -> None:
    labels = pseudo_labels(pack, PseudoSettings())
    write_pseudo_labels(labels, tmp_path / "pseudo.npz")
    with (tmp_path / "pseudo.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 18
    assert rows[1] | {"mask_mm2": ""} == {
        "patient": "P0", "slice": "1", "split": "train", "state": "labelled", "agreement": rows[1]["agreement"],
        "probability": "0.9", "mask_mm2": "",
    }  # fmt: skip
    assert labels.summary().splitlines() == [
        "train: 6 slices healthy, 6 slices labelled, 0 slices unsure",
        "val: 3 slices healthy, 3 slices labelled, 0 slices unsure",
    ]


def test_a_segmenter_may_label_again_and_leaves_open_what_it_is_not_sure_of(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def probability(stack, wanted, model, device):
        out = np.where(stack.images > 0.7, 0.9, 0.1) * wanted[:, None, None] * stack.brain
        out[:, :, 74:78] = np.minimum(out[:, :, 74:78], 0.5)
        return out.astype(np.float32)

    monkeypatch.setattr(made, "lesion_probability_of", probability)
    new = kept(pseudo_labels(pack, PseudoSettings(segmenter="weak-segmenter-flair")), tmp_path)
    assert new.masks[1].any()
    assert new.unsure[1].any()
    assert not new.unsure[1].all()
    assert not (new.masks | new.unsure)[0].any()


@pytest.mark.parametrize("splits", [("test",), ("train", "test"), ("all",), ()])
def test_the_test_split_is_never_labelled(pack: Pack, splits: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match="split"):
        pseudo_labels(pack, PseudoSettings(splits=splits))


def test_a_share_that_is_none_is_refused(pack: Pack) -> None:
    with pytest.raises(SettingsError, match="agreement"):
        pseudo_labels(pack, PseudoSettings(agreement=60.0))


def test_without_labels_there_is_nothing_to_do(tmp_path: Path) -> None:
    pack = load_pack(write_pack(tmp_path / "tiny.npz", mask_bits=None))
    with pytest.raises(PackError, match="no slice to label"):
        pseudo_labels(pack, PseudoSettings())
