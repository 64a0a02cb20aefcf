"""How the viewer reads scans into the scene: by the engine, with the same list of DICOM series and the same notes."""

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Testing"))
sys.path.insert(0, str(ROOT / "BrainViewer"))


def test_the_viewer_lists_and_opens_the_same_series(core, tmp_path):
    from BrainViewerLib.controllers import loading
    from dicom_series import oblique, write_series

    from braindiffusion.io.read import read_scan

    voxels = np.random.default_rng(0).integers(0, 900, (9, 8, 7)).astype(np.uint16)
    write_series(tmp_path / "a", voxels, oblique(), planted=False)
    write_series(tmp_path / "b", voxels[:, :, :5], oblique(), planted=False, SeriesDescription="t1 mprage")
    broken = write_series(tmp_path / "c", voxels, oblique(), planted=False)
    (broken / "003.dcm").unlink()
    found = loading.series_of(tmp_path)
    assert [loading.title_of(s) for s in found] == ["t2 flair (FLAIR, 7 slices)", "t1 mprage (T1, 5 slices)"]
    node, modality = loading.load(tmp_path, found[1].description, True, found[1])
    assert (node.GetName(), modality) == ("t1 mprage", "T1")
    assert node.GetImageData().GetDimensions() == (9, 8, 5)
    assert loading.notes_of(node) == ""
    assert read_scan(tmp_path, series=found[1].uid).voxels.shape == (9, 8, 5)


def test_what_was_assumed_is_kept_with_the_scan(core, tmp_path):
    pytest.importorskip("nibabel", reason="the engine's reader belongs to the viewer, not to the desktop")
    import nibabel
    from BrainViewerLib.controllers import loading

    image = nibabel.Nifti1Image(np.arange(210, dtype=np.int16).reshape(7, 6, 5), np.eye(4))
    image.set_qform(np.eye(4), 0)
    image.set_sform(np.eye(4), 0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    node, _ = loading.load(tmp_path / "a.nii.gz")
    assert "LEFT AND RIGHT MAY BE SWAPPED" in loading.notes_of(node)
