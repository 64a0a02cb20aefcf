"""Packs from a user's own scans: how they are found, placed, scaled, split and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from person_scans import Phantom, inside, made, save
from tiny_training import recipe

from braindiffusion.errors import CohortError, SettingsError
from braindiffusion.training.cohort import draw_split, find_cases, pattern
from braindiffusion.training.datasets import grid_of_pack
from braindiffusion.training.prepare import PrepareSettings, prepare_pack
from braindiffusion.volume.scan import Scan
from braindiffusion.volume.slices import brain_intensity

pytestmark = pytest.mark.usefixtures("known_brain")


# names


@pytest.mark.parametrize(
    ("text", "path", "subject", "session"),
    [
        ("{subject}_FLAIR.nii.gz", "A-1_FLAIR.nii.gz", "A-1", None),
        ("{subject}_FLAIR.*", "A_1_flair.nrrd", "A_1", None),
        ("*_FLAIR.nii.gz", "A_FLAIR.nii.gz", "A", None),
        ("{subject}/{session}/flair.nii", "A/2/flair.nii", "A", "2"),
        ("**/{subject}/flair.nii", "x/y/A/flair.nii", "A", None),
        ("{subject}/{subject}_x?.nii", "A/A_x1.nii", "A", None),
    ],
)
def test_a_pattern_finds_the_subject(text: str, path: str, subject: str, session: str | None) -> None:
    hit = pattern(text).fullmatch(path)
    assert hit
    assert (hit["subject"], hit.groupdict().get("session")) == (subject, session)


def test_a_pattern_with_one_subject_twice_wants_the_same_name() -> None:
    assert pattern("{subject}/{subject}_x.nii").fullmatch("A/B_x.nii") is None


@pytest.mark.parametrize("text", ["flair.nii.gz", "{id}_FLAIR.nii.gz"])
def test_an_impossible_pattern_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        pattern(text)


# the pack


def test_a_pack_holds_the_slices_of_all_patients(cohort: Path, tmp_path: Path) -> None:
    pack, done = made(cohort, tmp_path / "mine.npz")
    assert pack.modality == "FLAIR"
    assert pack.images.shape[1:] == (128, 128)
    assert pack.pitch_mm == 1.875
    assert len(set(pack.patient.tolist())) == 6
    assert pack.has_masks
    assert sum(row["lesion slices"] for row in done.counts.values()) == pack.masks.any((1, 2)).sum() > 0
    assert {s: done.counts[s]["patients"] for s in ("train", "val", "test")} == {"train": 4, "val": 1, "test": 1}


def test_no_name_of_a_patient_is_left_in_the_file(cohort: Path, tmp_path: Path) -> None:
    pack, _ = made(cohort, tmp_path / "mine.npz")
    assert sorted(set(pack.patient.tolist())) == [f"p{i:04d}" for i in range(1, 7)]
    with np.load(tmp_path / "mine.npz") as data:
        text = " ".join(str(data[k]) for k in data.files if data[k].dtype.kind == "U") + " ".join(data.files)
    for name in ("anna", "bela", "carl", "dora", "emil", "fara", str(tmp_path)):
        assert name not in text
    assert list(tmp_path.glob("*.npz")) == [tmp_path / "mine.npz"]
    assert {f.name for f in tmp_path.iterdir()} == {"scans", "mine.npz"}  # no key was written


def test_the_key_is_written_where_it_was_asked_for(cohort: Path, tmp_path: Path) -> None:
    _, _ = made(cohort, tmp_path / "mine.npz", key=tmp_path / "private" / "key.csv")
    key = tmp_path / "private" / "key.csv"
    rows = [line.split(",") for line in key.read_text().split()]
    assert rows[0] == ["pseudonym", "subject"]
    assert sorted(name for _, name in rows[1:]) == ["anna", "bela", "carl", "dora", "emil", "fara"]
    assert [name for _, name in rows[1:]] != sorted(name for _, name in rows[1:])  # the order tells nothing
    assert key.stat().st_mode & 0o077 == 0
    with pytest.raises(SettingsError, match="there already"):
        made(cohort, tmp_path / "other.npz", key=key)


def test_names_are_kept_where_that_was_asked_for(cohort: Path, tmp_path: Path) -> None:
    pack, _ = made(cohort, tmp_path / "mine.npz", PrepareSettings(size=128, pseudonyms=False))
    assert "anna" in pack.patient.tolist()


def test_the_same_seed_gives_the_same_pack(cohort: Path, tmp_path: Path) -> None:
    first, _ = made(cohort, tmp_path / "a.npz")
    again, _ = made(cohort, tmp_path / "b.npz")
    np.testing.assert_array_equal(first.images, again.images)
    assert first.split.tolist() == again.split.tolist()


def test_the_brightest_lesion_is_not_clipped(
    cohort: Path, head_phantom: Scan, phantom: Phantom, tmp_path: Path
) -> None:
    voxels, lesion = phantom(0)
    voxels[lesion] = 900 + np.arange(lesion.sum()) % 300  # more than twice the brain's median, and textured
    voxels[0, 0, 0] = 30000  # a spike far outside must not decide the scale
    save(cohort / "anna_FLAIR.nii.gz", voxels, head_phantom.affine)
    pack, _ = made(cohort, tmp_path / "mine.npz", PrepareSettings(size=128, pseudonyms=False))
    of = pack.patient == "anna"
    values = pack.images[of][pack.masks[of]]
    assert (values == 255).mean() < 0.01
    assert np.unique(values).size > 20
    brain = inside(head_phantom, (0, 0, 0), (66, 84, 68))
    assert brain_intensity(voxels, brain).gain * 1200 > 1.25  # the plain headroom would have clipped it


def test_a_pack_takes_the_same_road_as_a_scan(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a recipe sees of a stripped pack is what healing sees of the scan."""
    monkeypatch.setattr("braindiffusion.volume.brain.network_brain", lambda *_: None)
    settings = PrepareSettings(size=256, strip=True, pseudonyms=False)
    pack, _ = made(cohort, tmp_path / "mine.npz", settings)
    of = pack.select(pack.patient == "anna")
    data = grid_of_pack(of, "mine", 128)
    assert data.lesion.any((1, 2)).tolist() == of.masks.any((1, 2)).tolist()
    middle = len(of) // 2
    assert np.median(data.image[middle][data.brain[middle]].astype(float)) == pytest.approx(0.45, abs=0.03)
    assert float(data.image[data.lesion].mean()) > 0.7


def test_slices_without_brain_are_left_out_and_keep_their_numbers(
    cohort: Path, tmp_path: Path, head_phantom: Scan
) -> None:
    pack, _ = made(cohort, tmp_path / "mine.npz", PrepareSettings(size=128, pseudonyms=False))
    numbers = pack.position[pack.patient == "anna"]
    assert (np.diff(numbers) == 1).all()
    assert numbers[0] > 0
    assert numbers[-1] < head_phantom.voxels.shape[2] - 1


def test_thin_slices_can_be_thinned_out(cohort: Path, tmp_path: Path) -> None:
    pack, _ = made(cohort, tmp_path / "mine.npz", PrepareSettings(size=128, apart_mm=14, pseudonyms=False))
    assert (np.diff(pack.position[pack.patient == "anna"]) == 2).all()


def test_a_stripped_pack_shows_no_face(cohort: Path, tmp_path: Path) -> None:
    whole, _ = made(cohort, tmp_path / "a.npz")
    stripped, _ = made(cohort, tmp_path / "b.npz", PrepareSettings(size=128, strip=True))
    assert (stripped.images > 20).sum() < (whole.images > 20).sum()
    assert stripped.images[:, :8].max() == 0


def test_a_recipe_trains_on_it(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lightning_fabric")
    from braindiffusion.training.loop import train

    monkeypatch.setattr("braindiffusion.volume.brain.network_brain", lambda *_: None)
    (tmp_path / "data").mkdir()
    made(cohort, tmp_path / "data" / "tiny.npz", PrepareSettings(size=128, strip=True))
    records = list(train(recipe("classifier", iterations=3), tmp_path / "data", tmp_path / "run", device="cpu"))
    assert records[-1]["iteration"] == 3
    assert np.isfinite(records[-1]["val_loss"])


# orientation


def turned(voxels: np.ndarray, affine: np.ndarray, how: str) -> tuple[np.ndarray, np.ndarray]:
    """The same head stored otherwise."""
    if how == "flipped":
        turn = np.diag([-1.0, -1.0, -1.0, 1.0])
        turn[:3, 3] = np.array(voxels.shape) - 1
        return voxels[::-1, ::-1, ::-1], affine @ turn
    if how == "reordered":
        return voxels.transpose(2, 0, 1), affine[:, [2, 0, 1, 3]]
    angle = np.deg2rad(12.0)
    oblique = np.eye(4)
    oblique[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return voxels, oblique @ affine


@pytest.mark.parametrize("how", ["flipped", "reordered", "oblique"])
def test_the_way_a_scan_is_stored_changes_no_slice(
    tmp_path: Path, phantom: Phantom, head_phantom: Scan, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    voxels, lesion = phantom(0)
    for name, change in (("plain", None), ("other", how)):
        for part, kind in ((voxels, "FLAIR"), (lesion.astype(np.uint8), "mask")):
            stored = (part, head_phantom.affine) if change is None else turned(part, head_phantom.affine, change)
            save(tmp_path / name / f"x_{kind}.nii.gz", *stored)
    packs = [made(tmp_path / name, tmp_path / f"{name}.npz")[0] for name in ("plain", "other")]
    np.testing.assert_array_equal(packs[0].images, packs[1].images)
    np.testing.assert_array_equal(packs[0].masks, packs[1].masks)
    assert packs[0].position.tolist() == packs[1].position.tolist()


def test_patient_right_is_on_the_left_and_anterior_up(tmp_path: Path, phantom: Phantom, head_phantom: Scan) -> None:
    """The phantom's lesion lies at x = 34 mm (right), y = 18 mm (anterior)."""
    voxels, lesion = phantom(0)
    save(tmp_path / "s" / "x_FLAIR.nii.gz", voxels, head_phantom.affine)
    save(tmp_path / "s" / "x_mask.nrrd", lesion, head_phantom.affine)
    pack, _ = made(tmp_path / "s", tmp_path / "mine.npz")
    rows, columns = np.nonzero(pack.masks.any(0))
    assert columns.mean() < 64 - 10
    assert rows.mean() < 64 - 4


# BIDS


@pytest.fixture
def bids(tmp_path: Path, phantom: Phantom, head_phantom: Scan) -> Path:
    """Four subjects, the first with two sessions; masks in derivatives, and a brain mask that is none."""
    root = tmp_path / "bids"
    for i, (subject, session) in enumerate((("01", "a"), ("01", "b"), ("02", "a"), ("03", "a"), ("04", "a"))):
        voxels, lesion = phantom(i)
        at, stem = Path(f"sub-{subject}") / f"ses-{session}" / "anat", f"sub-{subject}_ses-{session}"
        save(root / at / f"{stem}_FLAIR.nii.gz", voxels, head_phantom.affine)
        save(root / at / f"{stem}_T1w.nii.gz", voxels, head_phantom.affine)
        derived = root / "derivatives" / "raters" / at
        save(derived / f"{stem}_label-lesion_mask.nii.gz", lesion, head_phantom.affine)
        save(derived / f"{stem}_desc-brain_mask.nii.gz", lesion, head_phantom.affine)
    (root / "dataset_description.json").write_text("{}")
    (root / "participants.tsv").write_text("participant_id\tage\nsub-01\t40\nsub-02\t41\nsub-03\t42\nsub-04\t43\n")
    return root


def test_bids_is_understood(bids: Path, tmp_path: Path) -> None:
    found = find_cases(bids, "FLAIR")
    assert [(c.subject, c.session) for c in found.cases] == [
        ("01", "a"), ("01", "b"), ("02", "a"), ("03", "a"), ("04", "a"),
    ]  # fmt: skip
    assert all(c.mask and "lesion" in c.mask.name for c in found.cases)
    pack, _ = made(bids, tmp_path / "mine.npz")
    assert len(set(pack.patient.tolist())) == 4


def test_sessions_of_a_subject_stay_together_and_apart(bids: Path, tmp_path: Path) -> None:
    """One patient, one split; but two scans, each with its own brain, scale and place."""
    for seed in range(3):
        pack, _ = made(bids, tmp_path / f"{seed}.npz", PrepareSettings(size=128, seed=seed, pseudonyms=False))
        first = pack.select(pack.patient == "01")
        assert len(set(first.split.tolist())) == 1
        assert [len(index) for name, index, _ in pack.volumes() if name == "01"] == [len(first) // 2] * 2
        assert len(set(first.position.tolist())) == len(first)


def test_a_pattern_on_bids_does_not_tear_a_subject_apart(bids: Path) -> None:
    found = find_cases(bids, "FLAIR", images="*_FLAIR.nii.gz", masks="*_label-lesion_mask.nii.gz")
    assert {c.subject for c in found.cases} == {"01", "02", "03", "04"}
    assert all(c.mask for c in found.cases)


def test_a_split_in_participants_is_followed(bids: Path, tmp_path: Path) -> None:
    table = "participant_id\tsplit\n01\ttest\nsub-02\ttrain\nsub-03\tval\nsub-04\ttrain\n"
    (bids / "participants.tsv").write_text(table)
    pack, _ = made(bids, tmp_path / "mine.npz", PrepareSettings(size=128, pseudonyms=False))
    of = dict(zip(pack.patient.tolist(), pack.split.tolist(), strict=True))
    assert of == {"01": "test", "02": "train", "03": "val", "04": "train"}


@pytest.mark.parametrize(
    "table", ["name\n01\n", "participant_id\tsplit\nsub-01\tholdout\n", "participant_id\tsplit\nsub-01\ttest\n"]
)
def test_an_unusable_table_of_participants_is_refused(bids: Path, table: str) -> None:
    (bids / "participants.tsv").write_text(table)
    with pytest.raises(CohortError):
        find_cases(bids, "FLAIR")


# the split


def test_the_split_spreads_lesions_and_leaves_nothing_empty() -> None:
    lesions = {f"s{i}": i % 2 == 0 for i in range(40)}
    split = draw_split(lesions, (0.5, 0.25, 0.25), 1)
    for name, n in (("train", 20), ("val", 10), ("test", 10)):
        chosen = [s for s in split if split[s] == name]
        assert len(chosen) == n
        assert abs(sum(lesions[s] for s in chosen) - n / 2) <= 1
    assert set(draw_split(dict.fromkeys("abc", True), (0.7, 0.15, 0.15), 0).values()) == {"train", "val", "test"}
    assert set(draw_split({"a": True}, (0.7, 0.15, 0.15), 0).values()) == {"train"}
    assert set(draw_split(lesions, (1.0, 0.0, 0.0), 0).values()) == {"train"}


def test_another_seed_draws_another_split() -> None:
    lesions = {f"s{i}": True for i in range(40)}
    assert draw_split(lesions, (0.7, 0.15, 0.15), 0) != draw_split(lesions, (0.7, 0.15, 0.15), 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"split": (0.5, 0.5, 0.5)}, {"split": (0.0, 0.5, 0.5)}, {"size": 100}, {"size": 8}, {"apart_mm": -1.0},
        {"modality": "mask_bits"},
    ],
)  # fmt: skip
def test_an_impossible_setting_is_refused(cohort: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        prepare_pack(cohort, tmp_path / "mine.npz", PrepareSettings(**changes))
