"""Regions of a result: dropping one gives the scan its own voxels back, and the figures and the record follow."""

from __future__ import annotations

from pathlib import Path

INSIDE = """
import asyncio, sys
asyncio.set_event_loop(asyncio.new_event_loop())
from pathlib import Path
import tempfile
import numpy as np, slicer
from PIL import Image
from BrainViewerLib.controllers import report
from BrainCounterfactualCommon.scene import counterfactuals
from BrainCounterfactualCommon.scene import masks
from BrainCounterfactualCommon.scene import volumes
from BrainViewerLib.app import BrainViewer

async def main():
    viewer = BrainViewer(Path(sys.argv[1]))
    state, scan = viewer.state, viewer.scans.volume
    original = np.array(volumes.voxels(scan))
    mask = np.zeros(original.shape, bool)  # (k,j,i)
    mask[6:9, 40:60, 40:60] = True
    mask[0:2, 80:90, 80:90] = True
    lesion = mask.copy()
    lesion[:, :, ::2] = False
    healed = np.where(mask, 7, original).astype(original.dtype)
    rows = [{"slice": s, "lesion_probability": 0.9, "judged_lesion": True, "mask_mm2": 5.0, "lesion_mm2": 3.0}
            for s in range(original.shape[0])]
    arrays = {"counterfactual": healed, "anomaly": mask.astype("f4"), "lesion": lesion, "mask": mask}
    counterfactuals.make(scan, {k: a.transpose() for k, a in arrays.items()},
                         {"slices": rows, "lesion_ml": 1.0, "provenance": {"seed": 3, "settings": {"seed": 3}}})
    viewer.results.refresh()
    voxel = volumes.voxelVolumeMl(scan)
    big, small = state.regions
    assert (big["kept"], small["kept"]) == (True, True)
    assert big["ml"] == round(3 * 20 * 10 * voxel, 2) and small["ml"] == round(2 * 10 * 5 * voxel, 2)
    assert {len(big["slices"].split("-")), len(small["slices"].split("-"))} == {2}
    assert "skull base" in small["note"] and big["note"] == "", (small, big)

    viewer.results.turn_region(small["id"])
    result = viewer.logic.currentResult(scan)
    now = volumes.voxels(result.node)
    assert (now[0:2] == original[0:2]).all() and (now[6:9, 40:60, 40:60] == 7).all()
    assert not volumes.voxels(result.differenceNode)[0:2].any()
    assert masks.arrayOf(result.lesionNode, scan).sum() == lesion[6:9].sum()
    assert masks.arrayOf(result.maskNode, scan).sum() == mask[6:9].sum()
    assert result.summary["lesion_ml"] == round(float(lesion[6:9].sum()) * voxel, 3)
    assert [r["lesion_ml"] for r in result.provenance["regions_dropped_by_user"]] == [round(100 * voxel, 3)]
    assert result.provenance["seed"] == 3
    low = [row for row in result.slices if row["index"] < 2]
    assert [row["lesion_mm2"] for row in low] == [None, None] and [row["mask_mm2"] for row in low] == [0.0, 0.0]
    assert [region["kept"] for region in state.regions] == [True, False]

    folder = Path(tempfile.mkdtemp())
    state.save_folder = str(folder)
    await viewer.saving.save_report()
    made = folder / "SYNTHETIC_report_1"
    picture = Image.open(made / "SYNTHETIC_key_image.png")
    assert picture.info["Description"] == "SYNTHETIC - NOT FOR DIAGNOSIS" and picture.height > 500
    page = (made / "SYNTHETIC_report.html").read_text()
    assert "NOT FOR DIAGNOSIS" in page and "Dropped by the reader" in page and "seed 3" in page
    assert scan.GetName() not in page and "http" not in page
    plane = report.Plane(scan, 7)
    kji = np.indices(original.shape)
    world = volumes.ijkToRas(scan)[:3, :3] @ kji[::-1].reshape(3, -1)
    x, y = (plane.of(world[n].reshape(original.shape)) for n in (0, 1))
    assert (np.diff(x, axis=1) < 0).all() and (np.diff(y, axis=0) < 0).all()  # right on the left, front above

    viewer.results.turn_region(small["id"])  # and back
    assert (volumes.voxels(result.node) == healed).all()
    assert masks.arrayOf(result.lesionNode, scan).sum() == lesion.sum()
    assert viewer.logic.currentResult(scan).provenance["regions_dropped_by_user"] == []
    assert (volumes.voxels(scan) == original).all()
    viewer.logic.close()
    print("INSIDE OK")

asyncio.get_event_loop().run_until_complete(main())
"""


def test_a_region_is_dropped_and_taken_back(viewer_packages, inside, sample: Path) -> None:
    inside(INSIDE, sample)


def test_sides_are_the_patients(viewer_packages) -> None:
    from BrainViewerLib.controllers.regions import side_of

    assert [side_of(x) for x in (-30.0, 2.0, 30.0)] == ["left", "midline", "right"]
