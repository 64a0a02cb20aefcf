"""What the panels admit: warnings, the check outside the mask, what the uncertainty map is, licence and limits."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kill_trials
import numpy as np
import pytest

from braindiffusion.models import registry

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT, ROOT / "BrainCounterfactual"):
    sys.path.insert(0, str(folder))

from BrainCounterfactualLib import texts  # noqa: E402

from BrainCounterfactualCommon.panels.texts import licence  # noqa: E402

CHECKED = "every voxel outside the edited region"


def result(deviation: Any = None, **summary: Any) -> SimpleNamespace:
    return SimpleNamespace(summary={"lesion_ml": 1.0, **summary}, deviationNode=deviation)


def test_the_check_is_shown_only_where_it_was_made() -> None:
    assert CHECKED in texts.summary(result(check={"outside_identical": True}))
    for check in ({}, {"outside_identical": False}):
        assert CHECKED not in texts.summary(result(check=check))


def test_the_uncertainty_map_is_explained_where_there_is_one() -> None:
    assert texts.uncertainty() in texts.summary(result(deviation=object()))
    assert texts.uncertainty() not in texts.summary(result())
    assert "no proof" in texts.uncertainty()


def test_warnings_reach_the_panel_as_text() -> None:
    said = texts.summary(result(warnings=["unlike <those>"]))
    assert "unlike &lt;those&gt;" in said


@pytest.mark.parametrize("card", sorted((ROOT / "Resources" / "Models").glob("*.json")), ids=lambda path: path.stem)
def test_every_shipped_card_has_what_is_one_click_away(card: Path) -> None:
    facts = json.loads(card.read_text(encoding="utf-8"))
    shown = licence(facts)
    assert facts["licence"]
    assert "Licence of the weights" in shown
    assert "not a medical device" in facts["intended_use"].lower()
    assert facts["known_failures"]
    assert all(facts["known_failures"])


def test_the_viewer_opens_licences_by_one_click() -> None:
    """Its link stands on the page; the card over it lists licence, data and failures of each model."""
    library = ROOT / "BrainViewer" / "BrainViewerLib" / "page"
    for file, link in (("panels_heal.py", "id-licence"), ("ui.py", "id-models-link")):
        line = next(t for t in (library / file).read_text().splitlines() if link in t)
        assert "click=\"dialog = 'models'\"" in line
    card = (library / "dialogs.py").read_text()
    assert all(field in card for field in ("m.licence", "m.data", "m.failures", "m.use"))


def test_what_the_engine_found_unlike_is_carried_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slab of a head: warned of by the command, in its provenance, and in what the worker hands to the panels."""
    from braindiffusion.cli.app import heal_and_write
    from braindiffusion.cli.options import ProgressKind, ResultFormat
    from braindiffusion.settings import HealSettings
    from braindiffusion.volume.scan import Scan
    from braindiffusion.worker.handlers import Bench
    from braindiffusion.worker.protocol import Request
    from braindiffusion.worker.session import Job, outcome

    (tmp_path / "models").mkdir()
    monkeypatch.setenv("BRAINDIFFUSION_MODELS", str(tmp_path / "models"))
    registry.release()
    kill_trials.heal(tmp_path / "models")
    scan, lesion, brain = kill_trials._scan()
    slab = Scan(scan.voxels[..., 3:7], scan.affine, "FLAIR", scan.source)
    settings = HealSettings(steps=2, device="cpu", precision="fp32")
    cut = (lesion[..., 3:7], brain[..., 3:7])
    heal_and_write(slab, settings, *cut, tmp_path / "out", ResultFormat.nifti, ProgressKind.none)
    said = "The scan shows 48 mm of the brain only"
    assert f"Warning: {said}" in capsys.readouterr().err
    facts = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert any(warning.startswith(said) for warning in facts["warnings"])
    assert facts["distribution"]["field_of_view"]["brain_mm"] == 48.0

    for name, values in (("voxels", slab.voxels), ("mask", cut[0]), ("brain", cut[1])):
        np.save(tmp_path / f"{name}.npy", values)
    fields = {
        "scan": {"voxels": str(tmp_path / "voxels.npy"), "affine": slab.affine.tolist(), "modality": "FLAIR"},
        "mask": str(tmp_path / "mask.npy"), "brain": str(tmp_path / "brain.npy"), "folder": str(tmp_path),
        "settings": {"steps": 2, "device": "cpu", "precision": "fp32"},
    }  # fmt: skip
    event, told = outcome(Bench().heal, Job(Request(1, "heal", fields), lambda *a, **k: None))  # type: ignore[arg-type]
    registry.release()
    assert event == "result"
    assert any(warning.startswith(said) for warning in told["warnings"])
