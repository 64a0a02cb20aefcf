"""The healing harness on simulated slices and small random models: every row, tuned on val, nothing done twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from healing_models import add_all, add_model
from safetensors.torch import load_file
from tiny_training import simulated_slices, write_pack

from braindiffusion import cards
from braindiffusion.errors import Cancelled, PackError, SettingsError
from braindiffusion.evaluation.healing import runs as healing_runs
from braindiffusion.evaluation.healing import scores as healing_scores
from braindiffusion.evaluation.healing import tuning as healing_tuning
from braindiffusion.evaluation.healing.data import collect
from braindiffusion.evaluation.healing.evaluate import (
    HealingPlan,
    HealingReport,
    evaluate_healing,
    run_sweep,
    tune_rows,
)
from braindiffusion.evaluation.healing.report import markdown
from braindiffusion.evaluation.healing.rows import (
    COSTLY_CALLS,
    QUICK,
    calls_of,
    known_rows,
)
from braindiffusion.evaluation.healing.runs import Runner
from braindiffusion.evaluation.healing.scores import over_seeds, strata_of
from braindiffusion.evaluation.result_cache import ResultCache
from braindiffusion.events import Event
from braindiffusion.finders.segmenter import SEGMENTERS
from braindiffusion.healing.registry import METHODS, operating_point
from braindiffusion.io.write import OutputFolder
from braindiffusion.models.export import export_model
from braindiffusion.models.registry import release
from braindiffusion.settings import HealSettings
from braindiffusion.training.packs import Pack, load_pack

WEAK_SEGMENTER, SEGMENTER = SEGMENTERS["segmenter"], SEGMENTERS["supervised"]
BASE = HealSettings(model="flair-healthy-128", steps=2, device="cpu", precision="fp32", force=True)
FEW = ("dif_fuse", "saliency_gradient", "denoising_ae")


def changed(folder: Path, name: str, new: str) -> None:
    """A model with slightly different weights, under a name of its own or the same."""
    card = json.loads((folder / f"{name}.json").read_text())
    state = {k: v + 0.01 if v.is_floating_point() else v for k, v in load_file(str(folder / card["weights"])).items()}
    export_model(folder, card | {"name": new}, state)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Everything the rows need, small and random; nothing else is installed."""
    folder = tmp_path_factory.mktemp("models")
    add_all(folder)
    for name in ("flair-acat-classifier", "flair-acat-autoencoder", "flair-judge-classifier", SEGMENTER):
        add_model(folder, name)
    changed(folder, SEGMENTER, WEAK_SEGMENTER)
    card = json.loads((folder / "flair-healthy-128.json").read_text())
    point = {"percentile": 95.0, "mask_sigma_px": 3.0, "grow_level": 0.6, "margin_mm": 4.0, "bright": 0.6}
    (folder / "flair-healthy-128.json").write_text(json.dumps(card | {"operating_points": {"dif_fuse": point}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cards, "model_folders", lambda: [folder])
        release()
        yield folder
        release()


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return load_pack(write_pack(tmp_path_factory.mktemp("pack") / "tiny.npz"))


def plan(*methods: str, **changes: Any) -> HealingPlan:
    return HealingPlan(methods=methods, **{"settings": BASE, "probe": 2, "costly": 0, **changes})


def measured(pack: Pack, split: str = "test", **options: Any) -> Any:
    return collect(pack, split, BASE, **options)


@pytest.fixture(scope="module")
def everything(models: Path, pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> tuple[HealingReport, Path]:
    """All rows, measured and written."""
    out = tmp_path_factory.mktemp("everything")
    report = evaluate_healing(pack, plan("all", seeds=2), out)
    with OutputFolder(out) as folder:
        report.write(folder)
    return report, out


# all rows


def test_every_row_is_there_or_says_what_is_missing(everything: tuple[HealingReport, Path]) -> None:
    facts = everything[0].facts
    assert set(facts["rows"]) | set(facts["missing"]) == set(known_rows())
    assert set(facts["missing"]) == {r.name for r in known_rows().values() if calls_of(r, BASE) > COSTLY_CALLS}
    assert all("network calls a slice" in why for why in facts["missing"].values())
    assert set(METHODS) <= {known_rows()[n].method for n in facts["rows"]} | {"autoddpm"}


def test_the_floors_are_floors(everything: tuple[HealingReport, Path]) -> None:
    rows = everything[0].facts["rows"]
    nothing = rows["nothing"]
    assert (nothing["lesion_dice"], nothing["lesion_iou"], nothing["false_alarm_mm2"]) == (0, 0, 0)
    assert nothing["two_class_dice"] > 0.4
    assert nothing["images"]["ssim"]["mean"] == pytest.approx(1)
    assert nothing["images"]["flip"]["mean"] in (0, None)
    assert rows["bright"]["lesion_dice"] > 0.8  # the simulated lesions are the brightest
    assert rows["dif_fuse_drawn"]["images"]["identity"]["mean"] == 0  # no mask on a lesion-free slice


def test_a_row_that_draws_has_a_standard_error_and_one_that_does_not_has_none(
    everything: tuple[HealingReport, Path],
) -> None:
    rows = everything[0].facts["rows"]
    assert rows["ddpm"]["seeds"] == 2
    assert rows["ddpm"]["lesion_dice_standard_error"] is not None
    assert rows["denoising_ae"]["seeds"] == 1
    assert rows["denoising_ae"]["lesion_dice_standard_error"] is None
    distances = {name: rows[name]["images"]["distance"] for name in ("ddpm", "denoising_ae")}
    assert distances["ddpm"]["fid_standard_error"] > 0
    assert distances["denoising_ae"]["fid_standard_error"] is None


def test_an_interval_is_of_the_mean_over_seeds_and_not_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, at = ("l1", "psnr", "ssim", "seam", "flicker"), np.arange(6)

    def healed(data: Any, made: float, judges: Any) -> dict[str, Any]:
        return {"at": at, "flicker_patient": at // 2, **dict.fromkeys(keys, at * made)}

    monkeypatch.setattr(healing_scores, "lesion_slices_healed", healed)
    monkeypatch.setattr(healing_scores, "healthy_slices_healed", lambda data, runs, gated: {})
    found = healing_scores.image_numbers(SimpleNamespace(patient=at // 2), [1.0, 9.0], None, True)
    of_mean = healing_scores.interval_of(at * 5.0, at // 2)
    assert found == dict.fromkeys(keys, of_mean)


def test_of_a_slice_the_seeds_that_know_it_count() -> None:
    found = over_seeds([np.array([1.0, np.nan, 3.0]), np.array([2.0, np.nan, np.nan])])
    np.testing.assert_array_equal(found, [1.5, np.nan, 3.0])


def test_network_calls_are_those_of_the_schedule(everything: tuple[HealingReport, Path]) -> None:
    rows = everything[0].facts["rows"]
    for name, row in rows.items():
        if row.get("calls_per_slice"):
            assert row["calls_per_slice"] == calls_of(known_rows()[name], BASE), name
    assert rows["ddpm"]["calls_per_slice"] == 3


def test_all_files_are_written_and_marked(everything: tuple[HealingReport, Path]) -> None:
    from PIL import Image

    report, out = everything
    pictures = {"gallery", "lesions", "healthy", "quality", "seam", "two_class"}
    assert {p.stem for p in out.glob("*.png")} == pictures
    for name in ("gallery", "lesions", "healthy", "seam"):
        assert Image.open(out / f"{name}.png").text["Description"].startswith("SYNTHETIC")
    table = (out / "table.md").read_text(encoding="utf-8")
    for name in report.facts["rows"]:
        assert f"| {name} |" in table
    assert "Research use only" in table
    lines = (out / "slices.csv").read_text().splitlines()
    assert len(lines) == 1 + report.facts["data"]["slices_measured"]
    assert len((out / "rows.csv").read_text().splitlines()) == 1 + len(report.facts["rows"])


def test_the_report_is_plain_and_says_where_it_comes_from(everything: tuple[HealingReport, Path]) -> None:
    facts = json.loads((everything[1] / "report.json").read_text())
    assert facts["data"]["split"] == "test"
    assert facts["models"]["flair-healthy-128"]
    assert facts["judge"]["name"] == "flair-judge-classifier"
    assert facts["two_class"]["text"]
    assert markdown(facts)  # the table can be made again from the report alone


# nothing twice


def test_a_second_run_makes_nothing_and_says_the_same(
    everything: tuple[HealingReport, Path], pack: Pack, models: Path
) -> None:
    first, out = everything
    again = evaluate_healing(pack, plan("all", seeds=2), out)
    assert again.facts["parts_made"] == 0
    assert again.facts["parts_found"] > 0

    def numbers(report: HealingReport) -> Any:
        return {n: (r["lesion_dice"], r["average_precision"], r["point"]) for n, r in report.facts["rows"].items()}

    assert numbers(again) == numbers(first)


def test_a_stopped_run_goes_on_where_it_stopped(pack: Pack, models: Path, tmp_path: Path) -> None:
    whole = evaluate_healing(pack, plan(*FEW), tmp_path / "whole").facts
    stop = [True]

    def until_half(event: Event) -> None:
        if event.stage == "evaluate" and event.done >= event.total / 2:
            stop.clear()
            raise Cancelled

    with pytest.raises(Cancelled):
        evaluate_healing(pack, plan(*FEW), tmp_path / "stopped", on_event=until_half)
    assert not stop
    rest = evaluate_healing(pack, plan(*FEW), tmp_path / "stopped").facts
    assert 0 < rest["parts_made"] < whole["parts_made"]
    assert rest["rows"]["dif_fuse"]["lesion_dice"] == whole["rows"]["dif_fuse"]["lesion_dice"]


def test_a_changed_setting_or_model_is_run_anew(pack: Pack, models: Path, tmp_path: Path) -> None:
    def made(**changes: Any) -> int:
        chosen = plan("denoising_ae", settings=replace(BASE, **changes))
        return int(evaluate_healing(pack, chosen, tmp_path).facts["parts_made"])

    assert made() > 0
    assert made() == 0
    assert made(seed=1) > 0
    changed(models, "flair-denoising-ae", "flair-denoising-ae")
    release()
    assert made(seed=1) > 0
    add_model(models, "flair-denoising-ae")
    release()


# val alone decides


def test_tuning_never_looks_at_test(pack: Pack, models: Path, tmp_path: Path) -> None:
    points, _ = tune_rows(pack, plan(*FEW), tmp_path / "a")
    arrays = simulated_slices()
    test = np.isin(arrays["patient"], np.nonzero(arrays["split"] == "test")[0])
    masks = np.unpackbits(arrays["mask_bits"], axis=-1).astype(bool)
    masks[test] = ~masks[test]
    images = arrays["flair"].copy()
    images[test] = images[test][:, ::-1]
    other = load_pack(write_pack(tmp_path / "other.npz", flair=images, mask_bits=np.packbits(masks, axis=-1)))
    assert tune_rows(other, plan(*FEW), tmp_path / "b")[0] == points


def test_points_are_kept_and_used_again(pack: Pack, models: Path, tmp_path: Path) -> None:
    points, _ = tune_rows(pack, plan(*FEW), tmp_path)
    kept = json.loads((tmp_path / "tuned.json").read_text())
    assert kept["split"] == "val"
    entry = kept["rows"]["saliency_gradient"]
    entry["point"] = {"percentile": 42.0, "least_mm2": 0.0}
    (tmp_path / "tuned.json").write_text(json.dumps(kept))
    facts = evaluate_healing(pack, plan(*FEW, limit=4), tmp_path).facts  # fewer slices do not tune anew
    assert facts["rows"]["saliency_gradient"]["point"]["percentile"] == 42.0
    assert facts["rows"]["dif_fuse"]["point"] == points["dif_fuse"]["point"]
    other = plan("saliency_gradient", settings=replace(BASE, percentile=50.0))
    assert evaluate_healing(pack, other, tmp_path).facts["rows"]["saliency_gradient"]["point"]["percentile"] != 42.0


def test_tuning_anew_leaves_the_points_of_other_rows(pack: Pack, models: Path, tmp_path: Path) -> None:
    points, _ = tune_rows(pack, plan("saliency_gradient", "saliency_gradcam"), tmp_path)
    kept = json.loads((tmp_path / "tuned.json").read_text())
    for name in ("saliency_gradient", "saliency_gradcam"):
        kept["rows"][name]["point"]["percentile"] = 42.0
    (tmp_path / "tuned.json").write_text(json.dumps(kept))
    again, _ = tune_rows(pack, plan("saliency_gradient"), tmp_path)
    assert again["saliency_gradient"] == points["saliency_gradient"]
    rows = json.loads((tmp_path / "tuned.json").read_text())["rows"]
    assert rows["saliency_gradcam"]["point"]["percentile"] == 42.0


def test_points_go_into_the_cards(pack: Pack, models: Path, tmp_path: Path) -> None:
    point = {"variant": "ours", "threshold": 0.07, "least_mm2": 50.0}
    points = {name: {"point": point, "dice": 0.5} for name in ("dif_fuse", "denoising_ae", "bright")}
    healthy = models / "flair-healthy-128.json"
    before = healthy.read_bytes()
    try:
        assert healing_tuning.write_points(points, BASE) == ["dif_fuse", "denoising_ae"]
        release()
        card = cards.read_card("flair-denoising-ae")
        kept = METHODS["denoising_ae"].point | operating_point(card, "denoising_ae")
        assert (kept["anomaly"], kept["threshold"], kept["least_mm2"]) == ("ours", 0.07, 50.0)
        own = cards.read_card("flair-healthy-128")
        assert operating_point(own, "dif_fuse")["threshold"] == operating_point(own, "repaint")["threshold"] == 0.07
        assert operating_point(own, "dif_fuse")["grow_level"] == 0.6  # what else was tuned stays
    finally:
        healthy.write_bytes(before)
        add_model(models, "flair-denoising-ae")
        release()


def test_the_tuned_point_is_the_best_of_those_tried(pack: Pack, models: Path, tmp_path: Path) -> None:
    runner = Runner(measured(pack, "val", lesion_only=True), BASE, ResultCache(tmp_path), 0)
    row = known_rows()["bright"]
    made = runner.run(row)
    point, value = healing_tuning.tuned_point(row, made, runner.slices)
    for level in (0.5, 0.6, 0.7, 0.9):
        other = healing_tuning.val_dice(row, made, {"threshold": level, "least_mm2": 0.0}, runner)["mean"]
        assert value >= other - 0.03  # chosen on the model grid, told on the pack's pixels
    assert value > 0.8
    assert set(point) == {"threshold", "least_mm2"}


def test_without_a_val_split_the_cards_points_serve(models: Path, tmp_path: Path) -> None:
    arrays = simulated_slices()
    pack = load_pack(write_pack(tmp_path / "p.npz", split=np.where(arrays["split"] == "val", "train", arrays["split"])))
    facts = evaluate_healing(pack, plan("dif_fuse", "ddim", "autoddpm", costly=1), tmp_path / "out").facts
    assert facts["rows"]["bright"]["point"]["threshold"] == 0.6
    assert "no val split" in facts["missing"]["ddim"]
    with pytest.raises(PackError):
        tune_rows(pack, plan("dif_fuse"), tmp_path / "out")


# rows and slices


def test_every_method_of_the_registry_is_a_row_and_quick_ones_have_their_published_schedule_too() -> None:
    rows = known_rows()
    assert set(METHODS) <= set(rows)
    for name, options in QUICK.items():
        quick, published = rows[name].of(BASE), rows[f"{name}_published"].of(BASE)
        method = METHODS[name]
        assert all(getattr(method.options(quick), k) == v for k, v in options.items())
        assert method.options(published) == method.options(replace(BASE, method=name))
    assert METHODS["repaint"].options(rows["repaint_published"].of(BASE)).calls() == 2410


def test_costly_rows_are_measured_on_few_lesion_slices(pack: Pack, models: Path, tmp_path: Path) -> None:
    runner = Runner(measured(pack), BASE, ResultCache(tmp_path), 2)
    few = runner.measured(known_rows()["autoddpm"])
    assert few.sum() == 2
    assert runner.slices.lesion[few].all()
    assert runner.measured(known_rows()["ddpm"]).all()


def test_a_row_whose_model_is_missing_says_so(
    pack: Pack, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {"flair-healthy-128", "flair-acat-classifier", "flair-acat-autoencoder"}
    here = {k: v for k, v in cards.installed().items() if k in kept}
    monkeypatch.setattr(cards, "installed", lambda: here)
    for module in ("braindiffusion.healing.models", "braindiffusion.evaluation.healing.images"):
        monkeypatch.setattr(f"{module}.installed", lambda: here)
    methods = ("dif_fuse", "anoddpm", "cfg", "weak_segmenter", "dif_fuse_weak", "segmenter")
    facts = evaluate_healing(pack, plan(*methods), tmp_path).facts
    assert "flair-simplex-128" in facts["missing"]["anoddpm"]
    assert "flair-guided-128" in facts["missing"]["cfg"]
    assert all(WEAK_SEGMENTER in facts["missing"][n] for n in ("weak_segmenter", "dif_fuse_weak"))
    assert SEGMENTER in facts["missing"]["segmenter"]
    assert "judge" in facts["judge"]["why"]
    assert "flip" not in facts["rows"]["dif_fuse"]["images"]
    assert "flair-judge-classifier" in markdown(facts)


def test_slices_are_those_of_the_pack(pack: Pack, models: Path) -> None:
    data = measured(pack, probe=1)
    rows = np.nonzero(pack.split == "test")[0]
    assert sorted(data.row.tolist()) == rows.tolist()
    for i, row in enumerate(data.row):
        assert (data.drawn[i] == pack.masks[row]).all()
        assert data.position[i] == pack.position[row]
    assert data.probe.sum() == 1
    assert not (data.probe & data.lesion).any()
    assert measured(pack, limit=2).lesion.sum() == 1
    assert measured(pack, lesion_only=True).lesion.all()


def test_maps_go_to_the_packs_pixels_and_back(pack: Pack, models: Path) -> None:
    data = measured(pack, lesion_only=True)
    at = np.arange(len(data))
    native = data.native(data.on_grid, at) > 0.5
    both = (native & data.drawn).sum() * 2 / (native.sum() + data.drawn.sum())
    assert both > 0.9


def test_strata_are_quartiles_of_the_lesion_slices(pack: Pack, models: Path) -> None:
    data = measured(pack, "all")
    names, (low, high) = strata_of(data)
    area = data.drawn.sum((1, 2)) * data.pixel_mm2
    assert (names[~data.lesion] == "").all()
    assert low <= np.median(area[data.lesion]) <= high


def test_the_gate_held_open_heals_probed_slices_only(pack: Pack, models: Path, tmp_path: Path) -> None:
    data = measured(pack, probe=1)
    data.judged[:] = False
    made = Runner(data, BASE, ResultCache(tmp_path), 0).run(known_rows()["ddpm"])
    assert (made.healed == (data.lesion | data.probe)).all()
    assert not made.values[~made.healed].any()


# the sweep


def test_the_sweep_chooses_on_val_and_its_choice_becomes_a_row(
    pack: Pack, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, few in (("SWEPT_PERCENTILES", (90.0, 97.0)), ("SWEPT_LEVELS", (250,)), ("FURTHER_LEVELS", (500,))):
        monkeypatch.setattr(healing_tuning, name, few)
    swept = run_sweep(pack, plan("dif_fuse"), tmp_path)
    points = {p["name"]: p["lesion_dice"] for p in swept["points"]}
    assert {"K 250, percentile 90", "K 500", "fusion joint", "4 samples", "gate open"} <= set(points)
    assert points[swept["best"]] == max(v for n, v in points.items() if n != "gate open")
    report = evaluate_healing(pack, plan("dif_fuse", "dif_fuse_chosen"), tmp_path)
    assert swept["best"] in report.facts["rows"]["dif_fuse_chosen"]["about"]
    with OutputFolder(tmp_path / "written") as folder:
        report.write(folder)
    assert {"sweep_k_percentile.png", "sweep_k.png"} <= {p.name for p in (tmp_path / "written").iterdir()}
    assert "for choosing, not for comparing" in (tmp_path / "written" / "table.md").read_text()


def test_bad_input_is_refused_before_anything_is_written(pack: Pack, models: Path, tmp_path: Path) -> None:
    unmasked = replace(pack, has_masks=False)
    for bad, chosen, error in (
        (unmasked, plan("dif_fuse"), PackError), (pack, plan("magic"), SettingsError),
        (pack, plan("dif_fuse", seeds=0), SettingsError), (pack, plan("dif_fuse", split="someday"), PackError),
    ):  # fmt: skip
        with pytest.raises(error):
            evaluate_healing(bad, chosen, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_format_is_part_of_every_key(
    pack: Pack, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate_healing(pack, plan("saliency_gradient"), tmp_path).facts["parts_made"] > 0
    monkeypatch.setattr(healing_runs, "FORMAT", healing_runs.FORMAT + 1)
    assert evaluate_healing(pack, plan("saliency_gradient"), tmp_path).facts["parts_made"] > 0
