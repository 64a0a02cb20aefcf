"""Packs from a user's own scans: how they are found, placed, scaled, split and named, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_training import recipe

from braindiffusion.errors import (
    CohortError,
    MaskGeometryError,
    ModalityError,
    NotABrainError,
    ScanNotFoundError,
    ScanUnreadableError,
    SettingsError,
)
from braindiffusion.scan import Scan
from braindiffusion.slices import brain_intensity
from braindiffusion.training.cohort import draw_split, find_cases, pattern
from braindiffusion.training.datasets import grid_of_pack
from braindiffusion.training.packs import Pack, load_pack
from braindiffusion.training.prepare import Prepared, PrepareSettings, prepare_pack
from braindiffusion.writing import OutputFolder

QUICK = PrepareSettings(size=128)


def inside(scan: Scan, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
    """(I,J,K) bool: voxels in an ellipsoid, mm RAS."""
    at = scan.affine[:3, :3] @ np.indices(scan.voxels.shape).reshape(3, -1) + scan.affine[:3, 3:]
    distance = sum(((p - c) / r) ** 2 for p, c, r in zip(at, centre, radii, strict=True))
    return np.asarray(distance).reshape(scan.voxels.shape) < 1


@pytest.fixture(autouse=True)
def known_brain(head_phantom: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is not asked: the brain of a phantom is an ellipsoid; what is no phantom has none."""

    def brain(scan: Scan, *_: Any, **__: Any) -> tuple[np.ndarray, str]:
        if np.median(scan.voxels[:4, :4]) > 100:
            return np.zeros(scan.voxels.shape, bool), "network"
        shift = scan.affine[:3, :3] @ (np.array(scan.voxels.shape) - 1) / 2 + scan.affine[:3, 3]
        return inside(scan, tuple(shift), (66, 84, 68)), "network"

    monkeypatch.setattr("braindiffusion.training.prepare.find_brain", brain)


def save(path: Path, voxels: np.ndarray, affine: np.ndarray) -> Path:
    """Write a volume (``.nii.gz`` or ``.nrrd``)."""
    with OutputFolder(path.parent) as out:
        out.volume(path.name, voxels, affine, "nrrd" if path.suffix == ".nrrd" else "nifti")
    return path


Phantom = Callable[..., tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def phantom(head_phantom: Scan) -> Phantom:
    """Voxels and lesion of a person: the head with noise of its own, on the left for odd numbers, or healthy."""
    lesion = inside(head_phantom, (34, 18, 12), (15, 17, 15))

    def make(number: int, healthy: bool = False) -> tuple[np.ndarray, np.ndarray]:
        noise = np.random.default_rng(number).normal(0, 6, head_phantom.voxels.shape)
        voxels = head_phantom.voxels + noise
        if healthy:
            voxels = np.where(lesion, 360 + noise, voxels)
        return np.clip(voxels, 0, 3000).astype(np.int16), np.zeros_like(lesion) if healthy else lesion

    return make


@pytest.fixture
def cohort(tmp_path: Path, phantom: Phantom, head_phantom: Scan) -> Path:
    """Six persons, every third healthy: ``<name>_FLAIR.nii.gz`` and ``<name>_mask.nii.gz``."""
    folder = tmp_path / "scans"
    for i, name in enumerate(("anna", "bela", "carl", "dora", "emil", "fara")):
        voxels, lesion = phantom(i, healthy=i % 3 == 2)
        save(folder / f"{name}_FLAIR.nii.gz", voxels, head_phantom.affine)
        save(folder / f"{name}_mask.nii.gz", lesion, head_phantom.affine)
    return folder


def made(folder: Path, out: Path, settings: PrepareSettings = QUICK, **options: Any) -> tuple[Pack, Prepared]:
    """The pack, read back, and what was said of it."""
    done = prepare_pack(folder, out, settings, **options)
    return load_pack(out), done


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
    monkeypatch.setattr("braindiffusion.brain.network_brain", lambda *_: None)
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

    monkeypatch.setattr("braindiffusion.brain.network_brain", lambda *_: None)
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


# what is refused


def test_a_folder_without_scans_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScanNotFoundError, match="--images"):
        prepare_pack(tmp_path, tmp_path / "mine.npz")
    with pytest.raises(ScanNotFoundError, match="There is no folder"):
        prepare_pack(tmp_path / "none", tmp_path / "mine.npz")


def test_two_files_for_one_scan_are_refused(cohort: Path, head_phantom: Scan) -> None:
    save(cohort / "anna_FLAIR.nrrd", head_phantom.voxels, head_phantom.affine)
    with pytest.raises(CohortError, match=r"anna_FLAIR\.nrrd"):
        find_cases(cohort, "FLAIR")


def test_the_same_scan_under_two_names_is_refused(cohort: Path, tmp_path: Path) -> None:
    (cohort / "bela_FLAIR.nii.gz").write_bytes((cohort / "anna_FLAIR.nii.gz").read_bytes())
    with pytest.raises(CohortError, match="bela_FLAIR"):
        prepare_pack(cohort, tmp_path / "mine.npz", QUICK)
    assert not (tmp_path / "mine.npz").exists()


def test_a_mask_on_another_grid_is_refused_by_name(cohort: Path, tmp_path: Path, head_phantom: Scan) -> None:
    lesion = np.zeros((10, 10, 10), np.uint8)
    lesion[5] = 1
    save(cohort / "carl_mask.nii.gz", lesion, head_phantom.affine)
    for settings in (QUICK, PrepareSettings(size=128, skip_bad=True)):
        with pytest.raises(MaskGeometryError, match="carl_mask"):
            prepare_pack(cohort, tmp_path / "mine.npz", settings)
    assert not (tmp_path / "mine.npz").exists()


def test_an_unreadable_scan_is_refused_or_left_out(cohort: Path, tmp_path: Path) -> None:
    bad = cohort / "dora_FLAIR.nii.gz"
    bad.write_bytes(bad.read_bytes()[:500])
    with pytest.raises(ScanUnreadableError, match="dora_FLAIR"):
        prepare_pack(cohort, tmp_path / "mine.npz", QUICK)
    pack, done = made(cohort, tmp_path / "mine.npz", PrepareSettings(size=128, skip_bad=True, pseudonyms=False))
    assert [path for path, _ in done.skipped] == [bad]
    assert "dora" not in pack.patient.tolist()


def test_what_is_no_brain_is_refused_by_name(cohort: Path, tmp_path: Path, head_phantom: Scan) -> None:
    noise = np.random.default_rng(0).integers(0, 400, head_phantom.voxels.shape).astype(np.int16)
    save(cohort / "emil_FLAIR.nii.gz", noise, head_phantom.affine)
    with pytest.raises(NotABrainError, match="emil_FLAIR"):
        prepare_pack(cohort, tmp_path / "mine.npz", QUICK)


def test_another_modality_by_name_is_refused(cohort: Path, tmp_path: Path) -> None:
    settings = PrepareSettings(size=128, modality="T1")
    with pytest.raises(ModalityError, match="_FLAIR"):
        prepare_pack(cohort, tmp_path / "mine.npz", settings, images="{subject}_FLAIR.nii.gz")
    forced = PrepareSettings(size=128, modality="T1", force=True)
    pack, _ = made(cohort, tmp_path / "mine.npz", forced, images="{subject}_FLAIR.nii.gz")
    assert pack.modality == "T1"


def test_a_missing_mask_is_not_taken_for_health(cohort: Path, tmp_path: Path) -> None:
    (cohort / "anna_mask.nii.gz").unlink()
    with pytest.raises(CohortError, match="anna_FLAIR"):
        prepare_pack(cohort, tmp_path / "mine.npz", QUICK)
    healthy = PrepareSettings(size=128, without_mask="healthy", pseudonyms=False)
    assert "anna" in made(cohort, tmp_path / "a.npz", healthy)[0].patient.tolist()
    skipping = PrepareSettings(size=128, without_mask="skip", pseudonyms=False)
    pack, done = made(cohort, tmp_path / "b.npz", skipping)
    assert "anna" not in pack.patient.tolist()
    assert done.skipped[0][0].name == "anna_FLAIR.nii.gz"


def test_without_any_mask_nothing_is_said_of_lesions(cohort: Path, tmp_path: Path) -> None:
    for mask in cohort.glob("*_mask.nii.gz"):
        mask.unlink()
    pack, done = made(cohort, tmp_path / "mine.npz")
    assert not pack.has_masks
    assert "not known" in done.table()
    assert any("No masks" in note for note in done.notes)


def test_a_pack_is_written_whole_or_not_at_all(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "mine.npz"))

    (tmp_path / "mine.npz").write_bytes(b"of before")
    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(Exception, match="cannot be written"):
        prepare_pack(cohort, tmp_path / "mine.npz", QUICK)
    assert (tmp_path / "mine.npz").read_bytes() == b"of before"


def test_the_pack_says_how_it_was_made(cohort: Path, tmp_path: Path) -> None:
    made(cohort, tmp_path / "mine.npz")
    with np.load(tmp_path / "mine.npz") as data:
        facts = json.loads(str(data["facts"]))
    assert facts["modality"] == "FLAIR"
    assert facts["scans"] == 6
