"""Packs of slices: what they hold, how they become scans, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from tiny_training import SLICES_EACH, simulated_slices, write_pack

from braindiffusion.errors import PackError
from braindiffusion.training import datasets
from braindiffusion.training.datasets import grid_of_pack, load_data, packs_on_grid
from braindiffusion.training.grid_data import GridData
from braindiffusion.training.packs import Pack, load_pack
from braindiffusion.volume.slices import place


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slices are stripped, which shows without the brain network; it only takes time."""
    monkeypatch.setattr("braindiffusion.volume.brain.network_brain", lambda *_: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pack ``tiny.npz``."""
    path = tmp_path_factory.mktemp("packs")
    write_pack(path / "tiny.npz")
    return path


@pytest.fixture(scope="module")
def pack(folder: Path) -> Pack:
    return load_pack(folder / "tiny.npz")


# reading


def test_images_and_masks_come_as_they_were_packed(pack: Pack) -> None:
    arrays = simulated_slices()
    np.testing.assert_array_equal(pack.images, arrays["flair"])
    np.testing.assert_array_equal(pack.masks, np.unpackbits(arrays["mask_bits"], axis=-1))
    assert pack.has_masks


def test_the_image_key_names_the_modality(pack: Pack) -> None:
    assert pack.modality == "FLAIR"


def test_each_slice_knows_its_patient_and_its_place(pack: Pack) -> None:
    assert pack.patient.tolist() == [f"P{i}" for i in range(4) for _ in range(SLICES_EACH)]
    assert pack.position.tolist() == list(range(SLICES_EACH)) * 4


def test_a_split_by_patient_reaches_every_slice(pack: Pack) -> None:
    assert pack.split.tolist() == [s for s in ("train", "train", "val", "test") for _ in range(SLICES_EACH)]


def test_a_split_by_slice_is_kept(tmp_path: Path) -> None:
    split = np.array(["train", "val"] * 12)
    assert load_pack(write_pack(tmp_path / "p.npz", split=split)).split.tolist() == split.tolist()


def test_patients_can_be_named_on_each_slice(tmp_path: Path) -> None:
    names = np.array([f"S{i // 3}" for i in range(24)])
    split = np.array(["all"] * 24)
    path = write_pack(tmp_path / "p.npz", patient=None, patients=None, subject=names, split=split)
    assert load_pack(path).patient.tolist() == names.tolist()


def test_masks_whose_width_is_no_multiple_of_8_fit(tmp_path: Path) -> None:
    masks = np.random.default_rng(0).random((24, 10, 13)) < 0.5
    images = np.zeros(masks.shape, np.uint8)
    path = write_pack(tmp_path / "p.npz", flair=images, mask_bits=np.packbits(masks, axis=-1), width=np.array(13))
    np.testing.assert_array_equal(load_pack(path).masks, masks)


def test_a_pack_without_masks_has_none(tmp_path: Path) -> None:
    pack = load_pack(write_pack(tmp_path / "p.npz", mask_bits=None))
    assert (pack.has_masks, pack.masks.any()) == (False, False)


@pytest.mark.parametrize(("side", "pitch"), [(128, 1.875), (256, 0.9375), (64, 1.0)])
def test_the_pixel_size_follows_from_the_width(tmp_path: Path, side: int, pitch: float) -> None:
    images = np.zeros((24, side, side), np.uint8)
    assert load_pack(write_pack(tmp_path / "p.npz", flair=images, mask_bits=None)).pitch_mm == pitch


def test_the_pixel_size_can_be_given(tmp_path: Path) -> None:
    assert load_pack(write_pack(tmp_path / "p.npz", pitch_mm=np.array(1.25))).pitch_mm == 1.25


# choosing


def test_one_split_can_be_chosen(pack: Pack) -> None:
    assert set(pack.of_split("val").patient.tolist()) == {"P2"}


def test_all_keeps_every_slice(pack: Pack) -> None:
    assert len(pack.of_split("all")) == len(pack)


def test_a_split_that_is_not_there_is_refused_with_those_that_are(pack: Pack) -> None:
    with pytest.raises(PackError, match="train, val"):
        pack.of_split("holdout")


def test_a_pack_without_split_works_with_all(tmp_path: Path) -> None:
    pack = load_pack(write_pack(tmp_path / "p.npz", split=None))
    assert len(pack.of_split("all")) == 24
    with pytest.raises(PackError, match="all"):
        pack.of_split("train")


# as scans


def test_volumes_hold_a_patients_slices_in_order(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(24)
    arrays = simulated_slices()
    shuffled = {k: arrays[k][order] for k in ("flair", "mask_bits", "patient", "slice")}
    pack = load_pack(write_pack(tmp_path / "p.npz", **shuffled))
    for name, index, scan in pack.volumes():
        assert set(pack.patient[index].tolist()) == {name}
        assert pack.position[index].tolist() == list(range(SLICES_EACH))
        np.testing.assert_array_equal(scan.voxels.transpose(2, 1, 0), pack.images[index])


def test_volumes_lie_in_space_as_packs_are_defined(pack: Pack) -> None:
    """Rows from front to back, columns from the patient's right to the left: as the model sees them."""
    _, index, scan = pack.volumes()[0]
    p = place(scan)
    np.testing.assert_array_equal(p.to_axial(scan.voxels), pack.images[index])
    np.testing.assert_allclose(p.down(p.to_axial(scan.voxels)), pack.images[index])


def test_the_grid_finds_brain_and_lesion(pack: Pack) -> None:
    grid = grid_of_pack(pack, "tiny", 64)
    assert grid.brain.mean((1, 2)) == pytest.approx(np.pi / 4 * 0.55 * 0.7, rel=0.08)
    np.testing.assert_array_equal(grid.lesion.any((1, 2)), np.arange(24) % 2 == 1)
    y, x = np.nonzero(grid.lesion[1])
    assert (x.mean(), y.mean()) == (pytest.approx(31.5 + 0.2 * 32, abs=1), pytest.approx(31.5 + 0.1 * 32, abs=1))


def test_the_grid_has_the_models_grey_values(pack: Pack) -> None:
    grid = grid_of_pack(pack, "tiny", 64)
    assert float(np.median(grid.image[0][grid.brain[0]])) == pytest.approx(0.45, abs=0.03)
    assert not grid.image[~grid.brain].any()


# training data

SPEC = {"kind": "packs", "packs": ["tiny.npz"], "grid": 32, "select": "all"}


@pytest.mark.parametrize(("select", "count"), [("all", 24), ("lesion_free", 12), ("lesion", 12)])
def test_slices_are_selected_by_lesion(folder: Path, select: str, count: int) -> None:
    data = load_data({**SPEC, "select": select}, folder)
    assert len(data.image) == count
    assert data.lesion.any((1, 2)).all() == (select == "lesion")


def test_slices_without_enough_brain_are_left_out(tmp_path: Path) -> None:
    images = simulated_slices()["flair"]
    images[3] = 0
    write_pack(tmp_path / "tiny.npz", flair=images)
    assert 3 not in load_data(SPEC, tmp_path).row.tolist()


def test_a_crop_is_the_middle(folder: Path) -> None:
    whole, cropped = load_data(SPEC, folder), load_data({**SPEC, "crop": [28, 24]}, folder)
    np.testing.assert_array_equal(cropped.image, whole.image[:, 2:30, 4:28])
    np.testing.assert_array_equal(cropped.lesion, whole.lesion[:, 2:30, 4:28])


def test_tensors_agree_with_the_slices(folder: Path) -> None:
    data = load_data(SPEC, folder)
    tensors = data.tensors()
    assert tensors["image"].shape == (24, 1, 32, 32)
    assert tensors["label"].tolist() == data.lesion.any((1, 2)).astype(int).tolist()


def test_the_cache_spares_the_second_reading(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = packs_on_grid(folder, ["tiny.npz"], 32, tmp_path / "cache")
    monkeypatch.setattr(datasets, "grid_of_pack", lambda *_: pytest.fail("read again"))
    second = packs_on_grid(folder, ["tiny.npz"], 32, tmp_path / "cache")
    for name, value in vars(first).items():
        np.testing.assert_array_equal(vars(second)[name], value)


def test_another_grid_has_its_own_cache(folder: Path, tmp_path: Path) -> None:
    for size in (32, 16):
        assert packs_on_grid(folder, ["tiny.npz"], size, tmp_path).image.shape[1:] == (size, size)


def test_a_pack_made_again_is_read_again(tmp_path: Path) -> None:
    arrays = simulated_slices()
    np.savez(tmp_path / "tiny.npz", **arrays)
    packs_on_grid(tmp_path, ["tiny.npz"], 32, tmp_path / "cache")
    np.savez(tmp_path / "tiny.npz", **arrays | {"split": np.array(["test", "train", "val", "train"])})
    assert packs_on_grid(tmp_path, ["tiny.npz"], 32, tmp_path / "cache").split[0] == "test"


def test_two_processes_can_fill_the_cache_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = np.savez_compressed

    def slow(path: Path, **arrays: np.ndarray) -> None:
        real(path, **arrays)
        monkeypatch.setattr(np, "savez_compressed", real)
        # while this process was at it, another one (of its own number) did the same, and finished
        with monkeypatch.context() as other:
            other.setattr("os.getpid", lambda: 424242)
            packs_on_grid(folder, ["tiny.npz"], 32, tmp_path / "cache")

    monkeypatch.setattr(np, "savez_compressed", slow)
    assert len(packs_on_grid(folder, ["tiny.npz"], 32, tmp_path / "cache").image) == 24


# refusing


def test_a_pack_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PackError, match=r"nowhere\.npz"):
        load_pack(tmp_path / "nowhere.npz")


def test_a_recipes_pack_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PackError, match=r"tiny\.npz"):
        load_data(SPEC, tmp_path)


@pytest.mark.parametrize("content", [b"", b"no pack at all", b"PK\x03\x04 but no zip", pickle.dumps({"flair": 1})])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.npz"
    path.write_bytes(content)
    with pytest.raises(PackError, match=r"p\.npz"):
        load_pack(path)


def test_a_pack_cut_short_is_refused(folder: Path, tmp_path: Path) -> None:
    data = (folder / "tiny.npz").read_bytes()
    path = tmp_path / "p.npz"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(PackError):
        load_pack(path)


def test_a_pack_with_damage_inside_is_refused(folder: Path, tmp_path: Path) -> None:
    whole, path = (folder / "tiny.npz").read_bytes(), tmp_path / "p.npz"
    for at in range(1000, len(whole) - 5000, len(whole) // 10):
        path.write_bytes(whole[:at] + b"\xff" * 200 + whole[at + 200 :])
        with pytest.raises(PackError):
            load_pack(path)


def test_pickled_objects_in_a_pack_are_refused(tmp_path: Path) -> None:
    path = write_pack(tmp_path / "p.npz", subject=np.array([{"a": 1}] * 24, dtype=object))
    with pytest.raises(PackError):
        load_pack(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"flair": None},
        {"t1": simulated_slices()["flair"]},
        {"flair": simulated_slices()["flair"].astype(np.float32)},
        {"flair": simulated_slices()["flair"][0]},
        {"flair": np.zeros((0, 8, 8), np.uint8), "mask_bits": None},
        {"flair": simulated_slices()["flair"][:10]},
        {"mask_bits": simulated_slices()["mask_bits"][:, :10]},
        {"slice": np.arange(5)},
        {"patient": np.zeros(5, int)},
        {"width": np.array(100)},
    ],
    ids=["no images", "two images", "floats", "one slice", "no slices", "fewer images", "short masks", "few positions",
         "few patients", "wrong width"],
)  # fmt: skip
def test_arrays_that_do_not_agree_are_refused(tmp_path: Path, changes: dict) -> None:
    with pytest.raises(PackError):
        load_pack(write_pack(tmp_path / "p.npz", **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"patient": np.full(24, 9)},
        {"mask_bits": simulated_slices()["mask_bits"].astype(np.int32)},
        {"slice": np.array(["one"] * 24)},
        {"split": np.array(["train"])},
        {"pitch_mm": np.array([1.0, 2.0])},
        {"width": np.array([1, 2])},
    ],
    ids=["patient out of range", "masks not packed", "positions in words", "short split", "two pitches", "two widths"],
)
def test_malformed_arrays_are_refused(tmp_path: Path, changes: dict) -> None:
    with pytest.raises(PackError):
        load_pack(write_pack(tmp_path / "p.npz", **changes))


def test_a_single_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", simulated_slices()["flair"])
    (tmp_path / "p.npy").rename(tmp_path / "p.npz")
    with pytest.raises(PackError):
        load_pack(tmp_path / "p.npz")


@pytest.mark.parametrize("pitch", [0.0, -1.0, float("nan")])
def test_an_impossible_pixel_size_is_refused(tmp_path: Path, pitch: float) -> None:
    with pytest.raises(PackError):
        load_pack(write_pack(tmp_path / "p.npz", pitch_mm=np.array(pitch)))


def test_a_pack_borrows_the_masks_of_the_same_slices() -> None:
    masks = np.zeros((3, 8, 8), bool)
    masks[1, 2:4, 4:6] = True
    masks[2, 0, 0] = True  # a quarter of a pixel: not half
    lender = Pack(
        np.zeros((3, 8, 8), np.uint8), masks, np.array(["a", "a", "b"]), np.array([1, 2, 1]), np.full(3, "train"),
        "FLAIR", 1.0, True,
    )  # fmt: skip
    borrower = Pack(
        np.zeros((3, 4, 4), np.uint8), np.zeros((3, 4, 4), bool), np.array(["b", "a", "c"]), np.array([1, 2, 1]),
        np.full(3, "train"), "T1GD", 2.0, False,
    )  # fmt: skip
    got = datasets.borrow_masks(borrower, lender)
    assert got.patient.tolist() == ["b", "a"]
    assert not got.masks[0].any()
    assert np.argwhere(got.masks[1]).tolist() == [[1, 2]]
    assert got.has_masks
    with pytest.raises(PackError):
        datasets.borrow_masks(borrower.select([2]), lender)


def test_lesion_slices_of_the_train_split_can_count_more(folder: Path) -> None:
    spec = {"kind": "packs", "packs": ["a.npz"], "select": "all", "grid": 128}
    spec["packs"] = sorted(p.name for p in folder.glob("*.npz"))
    plain, weighted = load_data(spec, folder), load_data({**spec, "lesion_weight": 3}, folder)

    def count(data: GridData, split: str, lesion: bool) -> int:
        return int(((data.split == split) & (data.lesion.any((1, 2)) == lesion)).sum())

    for split in set(plain.split.tolist()):
        assert count(weighted, split, True) == count(plain, split, True) * (3 if split == "train" else 1)
        assert count(weighted, split, False) == count(plain, split, False)


def test_kinds_number_the_sources(folder: Path) -> None:
    name = next(folder.glob("*.npz")).name
    data = load_data({"kind": "packs", "packs": [name], "select": "all", "grid": 128}, folder)
    assert set(data.tensors()["kind"].tolist()) == {0}
    assert set(data.tensors(["other", Path(name).stem])["kind"].tolist()) == {1}
