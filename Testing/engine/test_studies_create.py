"""Sealing a study: what readers get tells nothing, and the design is as asked."""

from __future__ import annotations

import gzip
import itertools
import json
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import study_helpers
from hypothesis import given, settings
from hypothesis import strategies as st
from sealing import NAMES, of, seal

from braindiffusion.errors import QuarantineError
from braindiffusion.export import deidentify
from braindiffusion.export.marks import words
from braindiffusion.io.read import read_scan
from braindiffusion.studies import design
from braindiffusion.studies.copies import pack_mask, sealed_copies, unpack_mask
from braindiffusion.studies.create import create_study
from braindiffusion.studies.design import StudySettings
from braindiffusion.studies.protocol import Window, load_protocol
from braindiffusion.studies.sources import find_sources, parse_edges, read_strata, stratum_of
from braindiffusion.volume.scan import Scan

# --- what readers get ---


def test_every_scan_is_there_and_only_the_key_knows_which(study_folders: dict[str, Path], tmp_path: Path) -> None:
    made = seal(study_folders, tmp_path / "S")
    study, key = of(made)
    assert made.counts == {"mededit": {"all": 6}, "palette": {"all": 6}, "real": {"all": 6}}
    assert made.presentations == 20
    assert set(study["cases"]) == set(key["cases"])
    originals = {
        (m, scan.source["sha256"]): scan
        for m in made.counts
        for scan in (read_scan(source.image) for source in find_sources(study_folders[m]))
    }
    for name, label in key["cases"].items():
        (image,) = study["cases"][name]["images"]
        copy = read_scan(made.study / image["file"])
        original = originals.pop((label["method"], label["sources"]["scan"]))
        np.testing.assert_allclose(copy.affine, original.affine, atol=1e-5)
        assert np.corrcoef(copy.voxels.ravel(), original.voxels.ravel())[0, 1] > 0.999999
        assert copy.voxels.dtype == np.int16
        assert (copy.voxels.min(), copy.voxels.max()) == (0, 32767)
    assert not originals


def test_no_name_path_or_header_text_comes_through(tmp_path: Path) -> None:
    """A planted name in file names, folders and every text of a NIfTI header is nowhere, zipped or not."""
    planted = "PLANTED^NAME"
    rng = np.random.default_rng(0)
    for method in ("real", "m"):
        for i in range(2):
            study_helpers.save(
                tmp_path / f"{planted}_{method}" / f"{planted}{i}_{method}.nii.gz",
                rng.integers(0, 99, (5, 6, 2)).astype(np.int16),
                ITK_FileNotes=planted, aux_file=planted, intent_name=planted, db_name=planted,
            )  # fmt: skip
    made = create_study(
        tmp_path / f"{planted}_real", {"secretmethod": tmp_path / f"{planted}_m"}, load_protocol("realism"),
        tmp_path / "S", StudySettings(repeats=0, face="keep"),
    )  # fmt: skip
    files = [p for p in made.study.rglob("*") if p.is_file()]
    assert len(files) == 5
    for path in [*files, made.key]:
        content = path.read_bytes()
        content += gzip.decompress(content) if path.suffix == ".gz" else b""
        for word in (planted, "PLANTED", str(tmp_path)):
            assert word.encode() not in content, path
            assert word not in str(path.relative_to(tmp_path))
        if path != made.key:
            assert b"secretmethod" not in content
    head = gzip.decompress(files[0].read_bytes() if files[0].suffix == ".gz" else files[1].read_bytes())[:348]
    assert head[148:228].rstrip(b"\0") == b"MAY BE SYNTHETIC - NOT FOR DIAGNOSIS"


def test_faces_are_taken_out_alike_of_a_scan_and_its_prior(
    study_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def lower_half(scan: Scan, *rest: Any) -> np.ndarray:
        asked.append(scan)
        return np.arange(scan.voxels.shape[0])[:, None, None] < np.full(scan.voxels.shape, 4)

    monkeypatch.setattr(deidentify, "shown_region", lower_half)
    made = seal(study_folders, tmp_path / "S", "path_fidel_indpath", face="remove")
    study, _ = of(made)
    assert len(asked) == len(study["cases"]), "the prior's region serves both"
    for case in study["cases"].values():
        for image in case["images"]:
            voxels = read_scan(made.study / image["file"]).voxels
            assert np.ptp(voxels[4:]) == 0
            assert np.ptp(voxels[:4]) > 10000


def test_a_scan_with_text_burned_in_is_held_back_and_named_to_who_makes_the_study(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for method in ("real", "m"):
        voxels = rng.integers(0, 500, (96, 96, 3)).astype(np.int16)
        if method == "m":
            voxels[words((96, 96), ["DOE JOHN 1960"], 10), 1] = 900
        study_helpers.save(tmp_path / method / f"{method}1.nii.gz", voxels)
    with pytest.raises(QuarantineError, match="m1: ") as caught:
        create_study(
            tmp_path / "real", {"m": tmp_path / "m"}, load_protocol("realism"), tmp_path / "S",
            StudySettings(repeats=0, face="keep"),
        )  # fmt: skip
    assert "burned in" in caught.value.why
    assert {p.name for p in tmp_path.iterdir()} == {"real", "m"}


def test_nothing_outside_the_key_tells_real_from_synthetic(study_folders: dict[str, Path], tmp_path: Path) -> None:
    """Not the text of study.json, the time of the files, the mode, nor any header."""
    made = seal(study_folders, tmp_path / "S", readers=("R1",))
    study, key = of(made)
    text = json.dumps({k: v for k, v in study.items() if k != "protocol"}).lower()
    assert not [w for w in ("mededit", "palette", "origin", '"real"', "seed", *NAMES) if w in text]
    heads = set()
    for case in study["cases"].values():
        path = made.study / case["images"][0]["file"]
        heads.add(gzip.decompress(path.read_bytes())[:352])
    assert len(heads) == 1
    files = list((made.study / "cases").iterdir())
    assert len({p.stat().st_mtime for p in files}) == 1
    assert len({p.stat().st_mode for p in files}) == 1
    assert sorted(study["cases"]) == list(study["cases"]), "order of the ids, which are drawn"
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600
    assert len(key["seed"]) >= 1


def test_the_seed_decides_everything_and_is_not_guessable_by_default(
    study_folders: dict[str, Path], tmp_path: Path
) -> None:
    a, b = (of(seal(study_folders, tmp_path / n, seed=7)) for n in "ab")
    strip = ("made", "key_sha256")
    assert {k: v for k, v in a[0].items() if k not in strip} == {k: v for k, v in b[0].items() if k not in strip}
    free = [of(seal(study_folders, tmp_path / n, seed=None))[1]["seed"] for n in "cd"]
    assert free[0] != free[1]
    assert all(int(s).bit_length() > 90 for s in free)


def test_scan_and_prior_share_grid_scale_and_window(study_folders: dict[str, Path], tmp_path: Path) -> None:
    made = seal(study_folders, tmp_path / "S", "path_fidel_indpath")
    study, key = of(made)
    for name, case in study["cases"].items():
        scan, prior = case["images"]
        assert (scan["role"], prior["role"]) == ("scan", "prior")
        assert scan["window"] == prior["window"]
        x, y = (read_scan(made.study / image["file"]).voxels for image in (scan, prior))
        assert min(x.min(), y.min()) == 0
        assert max(x.max(), y.max()) == 32767
        assert key["cases"][name]["origin"] == "synthetic"


def test_pairs_are_balanced(study_folders: dict[str, Path], tmp_path: Path) -> None:
    made = seal(study_folders, tmp_path / "S", "two_alternative", repeats=0)
    study, key = of(made)
    sides = Counter((label["method"], label["side"]) for label in key["cases"].values())
    assert set(sides.values()) == {3}
    partners = Counter()
    for name, label in key["cases"].items():
        assert [i["role"] for i in study["cases"][name]["images"]] == ["left", "right"]
        other = "left" if label["side"] == "right" else "right"
        partners[label["sources"][other]] += 1
        assert label["sources"][label["side"]] not in partners
    assert set(partners.values()) == {2}


def test_marks_are_scored_by_a_region_only_the_key_holds(study_folders: dict[str, Path], tmp_path: Path) -> None:
    made = seal(study_folders, tmp_path / "S", "mark")
    _, key = of(made)
    for label in key["cases"].values():
        if label["origin"] == "real":
            assert label["lesion"] is None
        else:
            mask, affine = unpack_mask(label["lesion"])
            assert mask.sum() == 9
            assert mask[2:5, 3:6, 1].all()
            np.testing.assert_allclose(affine, study_helpers.AFFINE, atol=1e-5)
    assert not list(made.study.rglob("*lesion*"))


def test_a_window_of_the_scans_own_values_is_carried_over(tmp_path: Path) -> None:
    voxels = np.linspace(-1000, 3000, 5 * 6 * 4).reshape(5, 6, 4).astype(np.float32)
    scan = read_scan(study_helpers.save(tmp_path / "ct.nii.gz", voxels))
    (copy,) = sealed_copies({"scan": scan}, Window("locked", None, 80.0, 40.0), together=False).values()
    scale = 32767 / 4000
    assert copy.window == pytest.approx((80 * scale, 1040 * scale), abs=0.1)


# --- the design ---


def test_orders_are_random_and_repeats_come_late(study_folders: dict[str, Path], tmp_path: Path) -> None:
    study, key = of(seal(study_folders, tmp_path / "S", repeats=4))
    first, second = study["readers"]["R1"], study["readers"]["R2"]
    assert first != second
    for order in (first, second):
        assert len(order) == 22
        twice = {c for c, n in Counter(order).items() if n == 2}
        assert twice == set(key["repeats"])
        half = len(order) // 2
        assert all(order.index(c) < half <= len(order) - 1 - order[::-1].index(c) for c in twice)
    assert {key["cases"][c]["method"] for c in key["repeats"]} == {"mededit", "palette", "real"}


@given(subjects=st.integers(8, 30), methods=st.integers(1, 4), repeats=st.integers(0, 8), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_a_reading_order_shows_all_and_keeps_subjects_apart(
    subjects: int, methods: int, repeats: int, seed: int
) -> None:
    names = [f"s{i}" for _ in range(methods) for i in range(subjects)]
    rng = np.random.default_rng(seed)
    twice = rng.permutation(len(names))[:repeats].tolist()
    order = design.reading_order(names, twice, rng)
    assert Counter(order) == Counter([*range(len(names)), *twice])
    shown = [names[i] for i in order]
    if subjects >= 15:
        assert all(a not in shown[max(0, k - 4) : k] for k, a in enumerate(shown))


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.data())
@settings(max_examples=60, deadline=None)
def test_cases_are_drawn_evenly_over_strata(strata: list[str], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(strata)))
    taken = design.spread(strata, count, np.random.default_rng(data.draw(st.integers(0, 99))))
    assert len(set(taken)) == count
    drawn, there = Counter(strata[i] for i in taken), Counter(strata)
    for a, b in itertools.permutations(there, 2):
        assert drawn[a] <= drawn[b] + 1 or drawn[b] == there[b]


def test_shared_subjects_are_the_same_for_all_methods(study_folders: dict[str, Path], tmp_path: Path) -> None:
    _, key = of(seal(study_folders, tmp_path / "S", per_method=3, repeats=0))
    by: dict[str, set[str]] = {}
    for label in key["cases"].values():
        by.setdefault(label["method"], set()).add(label["subject"])
    assert by["mededit"] == by["palette"]
    assert len(by["mededit"]) == len(by["real"]) == 3
    assert not by["real"] & by["mededit"]
    draws = [of(seal(study_folders, tmp_path / str(k), per_method=3, shared=False, seed=k))[1] for k in range(2)]
    drawn = [{lab["subject"] for lab in d["cases"].values() if lab["method"] == m} for d in draws for m in by]
    assert len({frozenset(s) for s in drawn}) > 2


def test_strata_by_volume_and_by_list(study_folders: dict[str, Path], tmp_path: Path) -> None:
    """The region drawn is 9 voxels of 4.8 mm3: 0.0432 mL."""
    made = seal(study_folders, tmp_path / "S", lesion_ml=[0.04, 1.0])
    assert made.counts == {"mededit": {"0.04-1 mL": 6}, "palette": {"0.04-1 mL": 6}, "real": {"no lesion": 6}}
    rows = "name,stratum\n" + "".join(f"{n},{'small' if i < 4 else 'large'}\n" for i, n in enumerate(NAMES))
    (tmp_path / "strata.csv").write_text(rows)
    strata = read_strata(tmp_path / "strata.csv")
    made = seal(study_folders, tmp_path / "T", strata=strata, per_method=4)
    assert made.counts["mededit"] == made.counts["palette"] == {"small": 2, "large": 2}
    assert [stratum_of(v, parse_edges("5,20")) for v in (1, 5, 20)] == ["under 5 mL", "5-20 mL", "20 mL and more"]


def test_results_of_induce_and_heal_are_cases(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, kind in (("p1", "diseased"), ("p2", "counterfactual")):
        study_helpers.save(tmp_path / "m" / name / f"{kind}.nii.gz", rng.random((5, 6, 3)).astype(np.float32))
        study_helpers.save(tmp_path / "m" / name / "lesion.nii.gz", np.ones((5, 6, 3), np.uint8))
    (tmp_path / "m" / "notes.txt").write_text("no scan")
    study_helpers.save(tmp_path / "m" / "p3.nii.gz", rng.random((5, 6, 3)).astype(np.float32))
    study_helpers.save(tmp_path / "m" / "p3_mask.nii.gz", np.ones((5, 6, 3), np.uint8))
    found = find_sources(tmp_path / "m")
    assert [(s.name, s.image.name, s.lesion.name if s.lesion else None) for s in found] == [
        ("p1", "diseased.nii.gz", "lesion.nii.gz"),
        ("p2", "counterfactual.nii.gz", "lesion.nii.gz"),
        ("p3", "p3.nii.gz", "p3_mask.nii.gz"),
    ]


def test_a_mask_comes_back_from_the_key() -> None:
    mask = np.random.default_rng(0).random((7, 5, 3)) > 0.7
    back, affine = unpack_mask(json.loads(json.dumps(pack_mask(mask, np.eye(4)))))
    np.testing.assert_array_equal(back, mask)
    np.testing.assert_array_equal(affine, np.eye(4))
