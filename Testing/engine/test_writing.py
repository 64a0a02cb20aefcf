"""Writing: exact geometry, all or nothing, and an error that says what to do."""

from __future__ import annotations

import errno
import gzip
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braindiffusion import errors
from braindiffusion.io import read as reading
from braindiffusion.io import write as writing
from braindiffusion.io.read import read_scan
from braindiffusion.io.write import OutputFolder, check_writable, free_space_check
from braindiffusion.volume.scan import Scan

DTYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
LEFT_HANDED = np.array([[-2.0, 0, 0, 90], [0, 1.5, 0, -70], [0, 0, 5, -40], [0, 0, 0, 1]])


def ramp(shape: tuple[int, ...] = (5, 6, 4), dtype: str = "int16") -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def nifti_affines(path: Path) -> tuple[np.ndarray, np.ndarray, bytes]:
    """sform, qform (by the formulas of the standard) and descrip of a NIfTI-1 file."""
    head = gzip.decompress(path.read_bytes())[:348]
    codes = np.frombuffer(head, "<i2", 2, 252)
    assert (codes > 0).all()
    sform = np.vstack([np.frombuffer(head, "<f4", 12, 280).reshape(3, 4), [0, 0, 0, 1]]).astype(float)
    b, c, d, *offset = (float(v) for v in np.frombuffer(head, "<f4", 6, 256))
    pixdim = np.frombuffer(head, "<f4", 8, 76).astype(float)
    a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    qform = np.eye(4)
    qform[:3, :3] = rotation * pixdim[1:4] * [1, 1, pixdim[0] or 1]
    qform[:3, 3] = offset
    return sform, qform, head[148:228]


@st.composite
def grids(draw: st.DrawFn) -> np.ndarray:
    """Affines of any rotation, handedness, spacing and origin."""
    number = st.floats(-1, 1, allow_nan=False)
    q, _ = np.linalg.qr(np.array([[draw(number) for _ in range(3)] for _ in range(3)]) + 1e-3 * np.eye(3))
    spacing = [draw(st.floats(0.2, 10)) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = q * [draw(st.sampled_from([-1, 1])) for _ in range(3)] * np.array(spacing)
    affine[:3, 3] = [draw(st.floats(-300, 300)) for _ in range(3)]
    return affine


@given(affine=grids(), dtype=st.sampled_from(DTYPES), depth=st.integers(1, 3), form=st.sampled_from(["nifti", "nrrd"]))
@settings(max_examples=60, deadline=None)
def test_any_grid_comes_back(affine: np.ndarray, dtype: str, depth: int, form: str) -> None:
    voxels = ramp((4, 3, depth), dtype)
    with tempfile.TemporaryDirectory() as folder:
        with OutputFolder(folder) as out:
            out.volume("v", voxels, affine, file_format=form)
        path = Path(folder) / f"v{writing.FORMATS[form]}"
        scan = read_scan(path)
        assert scan.voxels.dtype == voxels.dtype
        assert np.array_equal(scan.voxels, voxels)
        tolerance = 1e-4 * np.abs(affine).max()
        np.testing.assert_allclose(scan.affine, affine, rtol=1e-4, atol=tolerance)
        if form == "nifti":
            sform, qform, descrip = nifti_affines(path)
            np.testing.assert_allclose(sform, affine, rtol=1e-4, atol=tolerance)
            np.testing.assert_allclose(qform, affine, rtol=1e-3, atol=10 * tolerance)
            assert descrip.startswith(b"SYNTHETIC - NOT FOR DIAGNOSIS")


@pytest.mark.parametrize(
    ("stored", "back"), [("bool", "uint8"), ("float16", "float32"), (">i2", "int16"), (">f8", "float64")]
)
def test_dtypes_without_a_format_are_widened(tmp_path: Path, stored: str, back: str) -> None:
    voxels = (ramp() % 2).astype(stored)
    with OutputFolder(tmp_path) as out:
        out.volume("v", voxels, LEFT_HANDED)
    scan = read_scan(tmp_path / "v.nii.gz")
    assert scan.voxels.dtype == np.dtype(back)
    assert np.array_equal(scan.voxels, voxels)


def test_nan_and_values_keep_their_bits(tmp_path: Path) -> None:
    voxels = np.array([np.nan, np.inf, -0.0, 5e-324, 1e308, np.pi]).reshape(1, 2, 3)
    with OutputFolder(tmp_path) as out:
        out.volume("v", voxels, np.eye(4))
    raw = gzip.decompress((tmp_path / "v.nii.gz").read_bytes())[352:]
    assert raw == voxels.tobytes(order="F")


def test_descriptions(tmp_path: Path, head_phantom: Scan) -> None:
    with OutputFolder(tmp_path) as out:
        out.volume("a", head_phantom.voxels, head_phantom, description="gehéilt\n" * 30)
        out.volume("b", head_phantom.voxels, head_phantom, "nrrd", description="SYNTHETIC - NOT FOR DIAGNOSIS: b")
    descrip = nifti_affines(tmp_path / "a.nii.gz")[2]
    assert descrip.startswith(b"SYNTHETIC - NOT FOR DIAGNOSIS: geh?ilt")
    assert descrip[-1:] == b"\0"
    assert b"description:=SYNTHETIC - NOT FOR DIAGNOSIS: b\n" in (tmp_path / "b.nrrd").read_bytes()[:600]


def test_same_input_same_bytes(tmp_path: Path, head_phantom: Scan) -> None:
    for name in ("one", "two"):
        with OutputFolder(tmp_path / name) as out:
            out.volume("v", head_phantom.voxels, head_phantom)
    assert (tmp_path / "one/v.nii.gz").read_bytes() == (tmp_path / "two/v.nii.gz").read_bytes()


def test_json_pictures_subfolders_and_odd_names(tmp_path: Path) -> None:
    folder = tmp_path / "Käthe 脳 results" / ("long " * 20)
    with OutputFolder(folder) as out:
        out.json("provenance", {"a": np.float32(0.5), "n": float("nan"), "v": np.arange(2), "p": Path("x"), "é": (1,)})
        out.file("pictures/01.png").write_bytes(b"png")
        out.volume("ein sehr " + "langer " * 25 + "name", ramp(), LEFT_HANDED)
        assert not folder.exists()
    facts = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert facts == {"a": 0.5, "n": None, "v": [0, 1], "p": "x", "é": [1]}
    assert (folder / "pictures/01.png").read_bytes() == b"png"
    assert len(list(folder.iterdir())) == 3
    assert len(list(folder.parent.iterdir())) == 1
    with OutputFolder(folder) as out:
        for name in ("../x", "/x", "a/../../x", ""):
            with pytest.raises(ValueError, match="inside the folder"):
                out.file(name)


def test_staging_is_private_and_on_the_same_disk(tmp_path: Path) -> None:
    with OutputFolder(tmp_path / "out") as out:
        staging = out.file("a.txt").parents[1]
        assert staging.parent == tmp_path
        if os.name == "posix":
            assert stat.S_IMODE(staging.stat().st_mode) == 0o700
        out.file("a.txt").write_text("a")
    (tmp_path / "plain.txt").write_text("a")
    assert (tmp_path / "out/a.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def run(folder: Path, stop: BaseException | None = None, names: str = "12") -> None:
    """A run that writes some files and a volume, and is perhaps stopped before its end."""
    with OutputFolder(folder) as out:
        for name in names:
            out.json(name, {"new": name})
        out.volume("healed", ramp(), LEFT_HANDED)
        if stop is not None:
            raise stop


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), errors.Cancelled(), ValueError("x"), SystemExit(1)])
@pytest.mark.parametrize("there", [True, False])
def test_stopping_leaves_everything_as_it_was(tmp_path: Path, stop: BaseException, there: bool) -> None:
    folder = tmp_path / "a" / "out"
    if there:
        folder.mkdir(parents=True)
        (folder / "1.json").write_text("old")
    before = snapshot(tmp_path)
    with pytest.raises(type(stop)):
        run(folder, stop)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(("there", "fails_at"), [(True, 1), (True, 2), (True, 3), (True, 4), (False, 1)])
@pytest.mark.parametrize("stop", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_failing_while_moving_puts_all_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int, stop: BaseException, there: bool
) -> None:
    folder = tmp_path / "a" / "out"
    if there:
        folder.mkdir(parents=True)
        (folder / "1.json").write_text("old")
        (folder / "other.txt").write_text("other")
    before, replace, calls = snapshot(tmp_path), os.replace, 0

    def failing(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise stop
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(errors.OutputError if isinstance(stop, OSError) else KeyboardInterrupt) as caught:
        run(folder)
    assert snapshot(tmp_path) == before
    if isinstance(caught.value, errors.OutputError):
        assert caught.value.why == "The disk is full."
        assert caught.value.action
        assert caught.value.exit_code == 4


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_a_write_that_fails_inside_is_an_output_error(tmp_path: Path, code: int) -> None:
    with pytest.raises(errors.OutputError) as caught:
        run(tmp_path / "out", OSError(code, os.strerror(code)))
    assert caught.value.why == writing._CAUSES[code][0]
    assert not list(tmp_path.iterdir())


def test_errors_of_others_stay_theirs(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), OutputFolder(tmp_path / "out"):
        (tmp_path / "elsewhere").read_bytes()
    with pytest.raises(BrokenPipeError), OutputFolder(tmp_path / "out"):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


@pytest.mark.parametrize("form", ["nifti", "nrrd"])
def test_a_volume_cut_short_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    import nibabel

    sitk = reading.quiet_sitk()

    def shortened(write: Callable[..., None]) -> Callable[..., None]:
        def short(image: object, name: str, **options: object) -> None:
            write(image, name, **options)
            os.truncate(name, os.path.getsize(name) - 20)

        return short

    monkeypatch.setattr(sitk, "WriteImage", shortened(sitk.WriteImage))
    monkeypatch.setattr(nibabel, "save", shortened(nibabel.save))
    with pytest.raises(errors.OutputError, match="completely"), OutputFolder(tmp_path / "out") as out:
        out.volume("v", np.zeros((20, 20, 20), np.uint8), np.eye(4), form)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["nifti", "nrrd"])
def test_a_real_limit_on_file_size(tmp_path: Path, form: str) -> None:
    resource = pytest.importorskip("resource")
    del resource
    program = f"""
import resource, numpy as np
from braindiffusion.errors import OutputError
from braindiffusion.io.write import OutputFolder
voxels = np.random.default_rng(0).normal(size=(40, 40, 20))
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    with OutputFolder({str(tmp_path / "out")!r}) as out:
        out.volume("v", voxels, np.eye(4), {form!r})
except OutputError as error:
    print("OutputError", error.action)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("OutputError"), done.stderr
    assert not list(tmp_path.iterdir())


def test_a_sheared_affine_is_not_written_as_another(tmp_path: Path) -> None:
    sheared = np.eye(4)
    sheared[0, 1] = 0.2
    with pytest.raises(errors.OutputError), OutputFolder(tmp_path / "out") as out:
        out.volume("v", ramp(), sheared)
    assert not list(tmp_path.iterdir())


def test_check_writable_leaves_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path)
    check_writable(tmp_path / "not" / "yet")
    free_space_check(tmp_path / "not" / "yet", 1000)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_told_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(errors.OutputError, match="A file stands"):
            check_writable(folder)
        with pytest.raises(errors.OutputError, match="A file stands"), OutputFolder(folder):
            pass
    with pytest.raises(errors.OutputError, match="will not fit"):
        free_space_check(tmp_path, 1 << 60)
    (tmp_path / "out" / "healed.nii.gz").mkdir(parents=True)
    before = snapshot(tmp_path)
    with pytest.raises(errors.OutputError, match="A folder stands"):
        run(tmp_path / "out")
    assert snapshot(tmp_path) == before
    with pytest.raises(errors.OutputError), OutputFolder(tmp_path / "out") as out:
        out.json("x" * 300, {})
    assert snapshot(tmp_path) == before

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", denied)
    with pytest.raises(errors.OutputError, match="may not write"):
        check_writable(tmp_path)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, which nobody can write to")
def test_a_place_nobody_can_write_to() -> None:
    for attempt in (check_writable, lambda folder: OutputFolder(folder).__enter__()):
        with pytest.raises(errors.OutputError):
            attempt(Path("/proc/results"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind root")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(errors.OutputError, match="may not write"):
        check_writable(tmp_path / "out")
    tmp_path.chmod(0o700)


def test_without_hard_links_a_copy_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", unsupported)
    (tmp_path / "1.json").write_text("old")
    with OutputFolder(tmp_path) as out:
        out.json("1", {"new": 1})
    assert json.loads((tmp_path / "1.json").read_text()) == {"new": 1}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(os.name == "nt", reason="every name is Unicode there")
def test_a_folder_whose_name_is_not_unicode_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "caf\udce9"  # a byte that is no UTF-8, as POSIX hands it over
    for asked in (check_writable, OutputFolder, lambda path: free_space_check(path, 1)):
        with pytest.raises(errors.OutputError, match="not Unicode"):
            asked(folder)
    assert not any(tmp_path.iterdir())
