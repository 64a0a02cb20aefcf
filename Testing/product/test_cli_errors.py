"""Bad input: each a typed error with cause and action and its exit code, and nothing written."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from product_run import (
    QUICK,
    Head,
    provenance,
    read_nifti,
    refused,
    run,
    save_nifti,
    sha256,
    snapshot,
    succeed,
    told,
)

from braindiffusion.healing.registry import METHODS

pytestmark = pytest.mark.weights

Case = Callable[[Path, Head], list[Any]]


def scan_of(make: Callable[[Head], np.ndarray], name: str = "bad_FLAIR.nii.gz", code: int | None = None) -> Case:
    """A case that heals a scan with other voxels."""
    return lambda folder, head: [save_nifti(folder / name, make(head), head.affine, code)]


def bytes_of(make: Callable[[bytes], bytes], name: str = "bad_FLAIR.nii.gz") -> Case:
    """A case that heals a scan whose file was damaged."""

    def case(folder: Path, head: Head) -> list[Any]:
        (folder / name).write_bytes(make(head.scan.read_bytes()))
        return [folder / name]

    return case


def plain(folder: Path, head: Head) -> Path:
    """The head, uncompressed."""
    return save_nifti(folder / "plain_FLAIR.nii", head.voxels, head.affine)


def with_value(value: float) -> Callable[[Head], np.ndarray]:
    """The head with one other voxel."""

    def make(head: Head) -> np.ndarray:
        voxels = head.voxels.astype("<f4")
        voxels[30, 30, 10] = value
        return voxels

    return make


def noise_box(head: Head) -> np.ndarray:
    """Noise in a box, in air: nothing like a head."""
    voxels = np.zeros(head.voxels.shape, "<i2")
    voxels[16:48, 16:56, 4:16] = np.random.default_rng(0).normal(300, 60, (32, 40, 12))
    return voxels


def cut_short(folder: Path, head: Head) -> list[Any]:
    """A scan of which the last half was not copied."""
    file = plain(folder, head)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return [file]


def empty_folder(folder: Path, head: Head) -> list[Any]:
    """A folder that holds no images."""
    (folder / "dicom").mkdir()
    (folder / "dicom" / "readme.txt").write_text("nothing here")
    return [folder / "dicom"]


def mask_of(make: Callable[[Head], tuple[np.ndarray, np.ndarray]], option: str = "--mask") -> Case:
    """A case that heals the head inside another mask (voxels, affine)."""
    return lambda folder, head: [head.scan, option, save_nifti(folder / "mask.nii.gz", *make(head))]


def corner(head: Head) -> np.ndarray:
    """A mask in the air beside the head."""
    mask = np.zeros(head.voxels.shape, "u1")
    mask[:3, :3, 10] = 1
    return mask


def moved(head: Head) -> np.ndarray:
    """The head's affine, moved by 1.5 mm."""
    affine = head.affine.copy()
    affine[0, 3] += 1.5
    return affine


def lesion(head: Head) -> np.ndarray:
    """The drawn lesion as a file holds it."""
    return head.lesion.astype("u1")


def box(text: str) -> Case:
    """A case that heals the head inside a box."""
    return lambda folder, head: [head.scan, "--box", text]


BAD_INPUT: dict[str, tuple[str, Case]] = {
    "missing file": ("ScanNotFoundError", lambda folder, head: [folder / "none_FLAIR.nii.gz"]),
    "folder without images": ("ScanNotFoundError", empty_folder),
    "truncated gzip": ("ScanUnreadableError", bytes_of(lambda data: data[: len(data) // 2])),
    "truncated nifti": ("ScanUnreadableError", cut_short),
    "empty file": ("ScanUnreadableError", bytes_of(lambda data: b"")),
    "text": ("ScanUnreadableError", bytes_of(lambda data: b"not a scan " * 99)),
    "unknown format": ("ScanUnreadableError", bytes_of(lambda data: data, "bad_FLAIR.xyz")),
    "4-D": ("ScanDimensionError", scan_of(lambda head: np.stack([head.voxels] * 3, -1))),
    "2-D": ("ScanDimensionError", scan_of(lambda head: head.voxels[:, :, 10])),
    "RGB": ("ScanPixelTypeError", scan_of(lambda head: np.stack([head.voxels.astype("u1")] * 3, -1), code=128)),
    "NaN": ("ScanContentError", scan_of(with_value(np.nan))),
    "infinite": ("ScanContentError", scan_of(with_value(np.inf))),
    "constant": ("ScanContentError", scan_of(lambda head: np.full_like(head.voxels, 7))),
    "noise in a box": ("NotABrainError", scan_of(noise_box)),
    "mask missing": ("ScanNotFoundError", lambda folder, head: [head.scan, "--mask", folder / "none.nii.gz"]),
    "mask elsewhere": ("MaskGeometryError", mask_of(lambda head: (lesion(head), moved(head)))),
    "mask of other voxels": (
        "MaskGeometryError",
        mask_of(lambda h: (lesion(h)[::2], h.affine @ np.diag([2, 1, 1, 1]))),
    ),
    "empty mask": ("EmptyMaskError", mask_of(lambda head: (lesion(head) * 0, head.affine))),
    "mask in the air": ("EmptyMaskError", mask_of(lambda head: (corner(head), head.affine))),
    "mask in other slices": (
        "EmptyMaskError",
        lambda folder, head: [head.scan, "--mask", head.mask, "--slices", "3:5"],
    ),
    "brain elsewhere": ("MaskGeometryError", mask_of(lambda head: (lesion(head), moved(head)), "--brain")),
    "brain in the air": ("NotABrainError", mask_of(lambda head: (corner(head), head.affine), "--brain")),
    "box outside": ("BoxError", box("18,34,10,28,46,20")),
    "box before the scan": ("BoxError", box("-1,34,10,28,46,12")),
    "box inverted": ("BoxError", box("28,34,10,18,46,12")),
    "box of five numbers": ("BoxError", box("18,34,10,28,46")),
    "box of words": ("BoxError", box("a,b,c,d,e,f")),
    "box of fractions": ("BoxError", box("18.5,34,10,28,46,12")),
    "box in the air": ("EmptyMaskError", box("0,0,10,2,2,10")),
    "slices beyond": ("SliceRangeError", lambda folder, head: [head.scan, "--slices", "90:95"]),
    "slices of nothing": ("SliceRangeError", lambda folder, head: [head.scan, "--slices", "12:12"]),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_3(head: Head, tmp_path: Path, case: str) -> None:
    name, make = BAD_INPUT[case]
    refused(tmp_path, 3, name, "heal", *make(tmp_path, head), *QUICK)


@pytest.mark.parametrize("case", ["missing file", "truncated gzip", "4-D", "NaN", "noise in a box", "slices beyond"])
def test_saliency_refuses_the_same(head: Head, tmp_path: Path, case: str) -> None:
    name, make = BAD_INPUT[case]
    refused(tmp_path, 3, name, "saliency", *make(tmp_path, head), "--progress", "none")


USAGE: dict[str, list[str]] = {
    "mask and box": ["--mask", "MASK", "--box", "18,34,10,28,46,12"],
    "mask and saliency": ["--mask", "MASK", "--saliency", "acat"],
    "no steps": ["--steps", "0"],
    "steps of letters": ["--steps", "abc"],
    "fewer than no steps": ["--steps", "-1"],
    "half a step": ["--steps", "2.5"],
    "a digit that is no number": ["--steps", "²"],
    "slices without colon": ["--slices", "5"],
    "slices of letters": ["--slices", "a:b"],
    "unknown method": ["--method", "prayer", "--box", "18,34,10,28,46,12"],
    "unknown saliency": ["--saliency", "magic"],
    "no samples": ["--samples", "0"],
    "noised beyond the schedule": ["--noise-level", "1000"],
    "noised less than not": ["--noise-level", "-1"],
    "percentile above all": ["--percentile", "101"],
    "negative seed": ["--seed", "-1"],
    "seed beyond 31 bits": ["--seed", "2147483648"],
}


@pytest.mark.parametrize("case", USAGE)
def test_settings_that_cannot_be_are_2(head: Head, tmp_path: Path, case: str) -> None:
    options = [head.mask if option == "MASK" else option for option in USAGE[case]]
    refused(tmp_path, 2, "SettingsError", "heal", head.scan, "--progress", "none", *options)


@pytest.mark.parametrize(
    "options",
    [
        ["--fusion", "magic"], ["--format", "tiff"], ["--progress", "loud"], ["--seed", "x"], ["--no-such-option"],
        ["a second scan"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_is_2(head: Head, tmp_path: Path, options: list[str]) -> None:
    result = run("heal", head.scan, "--out", tmp_path / "out", *options)
    assert result.code == 2
    assert "Usage:" in result.err
    assert not snapshot(tmp_path)


def test_the_output_folder_must_be_given(head: Head) -> None:
    result = run("heal", head.scan)
    assert result.code == 2
    assert "--out" in result.err


# --- models ---------------------------------------------------------------------------------------------------


def test_an_unknown_model_is_4(head: Head, tmp_path: Path) -> None:
    refused(tmp_path, 4, "ModelNotFoundError", "heal", head.scan, "--model", "no-such-model", *QUICK)


@pytest.mark.parametrize("model", ["flair-acat-classifier", "brain-mask"])
def test_a_model_for_another_purpose_cannot_heal(head: Head, tmp_path: Path, model: str) -> None:
    before = snapshot(tmp_path)
    out = ("--out", tmp_path / "out")
    result = run("heal", head.scan, "--model", model, "--box", head.box, "--slices", "11:12", *QUICK, *out)
    assert result.code in (2, 4)
    assert "\nDo: " in result.err
    assert snapshot(tmp_path) == before


def flip(weights: Path) -> None:
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)


def to_pickle(weights: Path) -> None:
    weights.write_bytes(pickle.dumps({"weights": [1.0]}))


DAMAGE: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "one bit flipped": ("ModelCorruptError", flip),
    "cut short": ("ModelCorruptError", lambda weights: weights.write_bytes(weights.read_bytes()[:-1000])),
    "missing": ("ModelCorruptError", lambda weights: weights.unlink()),
    "a pickle": ("ModelFormatError", to_pickle),
    "card not JSON": ("ModelFormatError", lambda weights: weights.with_suffix(".json").write_text("{")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_spoilt_weights_are_4(head: Head, own_models: Path, tmp_path: Path, damage: str) -> None:
    name, spoil = DAMAGE[damage]
    spoil(own_models / "tissue-256.safetensors")
    refused(tmp_path, 4, name, "heal", head.scan, "--box", head.box, *QUICK)


@pytest.mark.parametrize("model", ["flair-acat-classifier", "flair-acat-autoencoder", "brain-mask"])
def test_spoilt_weights_of_a_helper_are_4(head: Head, own_models: Path, tmp_path: Path, model: str) -> None:
    flip(own_models / f"{model}.safetensors")
    refused(tmp_path, 4, "ModelCorruptError", "heal", head.scan, "--slices", "11:12", *QUICK)


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "cuda:x", ""])
def test_an_unknown_device_is_4(head: Head, tmp_path: Path, device: str) -> None:
    refused(tmp_path, 4, "DeviceError", "heal", head.scan, "--box", head.box, "--device", device, *QUICK)


# --- modality -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["heal", "saliency"])
def test_another_modality_is_3_unless_forced(head: Head, tmp_path: Path, command: str) -> None:
    scan = save_nifti(tmp_path / "sub-01_T1w.nii.gz", head.voxels, head.affine)
    quick = ("--slices", "11:12", *(QUICK if command == "heal" else QUICK[2:]))
    refused(tmp_path, 3, "ModalityError", command, scan, *quick)
    result = succeed(command, scan, *quick, "--force", "--out", tmp_path / "forced")
    assert "Warning: This T1 scan was forced through a model trained on FLAIR" in result.err
    facts = provenance(tmp_path / "forced")
    assert any("T1" in warning for warning in facts["warnings"])
    assert facts["settings"]["force"] is True


def test_an_unknown_modality_is_warned_of(head: Head, tmp_path: Path) -> None:
    scan = save_nifti(tmp_path / "scan.nii.gz", head.voxels, head.affine)
    result = succeed(
        "heal",
        scan,
        "--model",
        "flair-healthy-128",
        "--box",
        head.box,
        "--slices",
        "11:12",
        *QUICK,
        "--out",
        tmp_path / "out",
    )
    assert "Warning: Neither the header nor the file name says what this scan is" in result.err


# --- places that cannot be written to -------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["heal", "saliency"])
@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_where_the_folder_should_be_is_4(head: Head, tmp_path: Path, command: str, place: str) -> None:
    (tmp_path / "file").write_text("in the way")
    before = snapshot(tmp_path)
    result = run(command, head.scan, "--progress", "none", "--out", tmp_path / place)
    told(result, 4, "OutputError")
    assert snapshot(tmp_path) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_permission_is_4(head: Head, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    told(run("heal", head.scan, *QUICK, "--out", locked / "out"), 4, "OutputError")
    assert not snapshot(locked)


def test_a_disk_known_to_be_full_is_4_before_the_work(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    monkeypatch.setattr("braindiffusion.pipeline.heal.heal_scan", None)  # the work must not begin
    refused(tmp_path, 4, "OutputError", "heal", head.scan, *QUICK)


def full(*arguments: Any, **options: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["braindiffusion.io.write.os.fsync", "matplotlib.figure.Figure.savefig"])
def test_a_disk_that_fills_up_is_4(head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setattr(where, full)
    quick = ("--box", head.box, "--brain", head.brain, "--noise-level", 0, "--progress", "none")
    refused(tmp_path, 4, "OutputError", "heal", head.scan, *quick, late=True)


# --- memory ---------------------------------------------------------------------------------------------------


def exhausted(*arguments: Any, **options: Any) -> Any:
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried ...")


def no_array(*arguments: Any, **options: Any) -> Any:
    raise MemoryError("Unable to allocate 3.2 GiB for an array")


def test_no_memory_for_one_slice_is_4(head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "dif_fuse", replace(METHODS["dif_fuse"], run=exhausted))
    refused(tmp_path, 4, "MemoryExhaustedError", "heal", head.scan, "--box", head.box, *QUICK)


@pytest.mark.parametrize(
    ("where", "failure"),
    [
        ("volume.brain.network_brain", no_array),
        ("networks.build.Classifier.forward", exhausted),
        ("pipeline.carry.carry_back", no_array),
    ],
)
def test_no_memory_elsewhere_is_4(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, failure: Callable[..., Any]
) -> None:
    monkeypatch.setattr(f"braindiffusion.{where}", failure)
    quick = ("--slices", "11:12", "--noise-level", 0, "--progress", "none")
    refused(tmp_path, 4, "MemoryExhaustedError", "heal", head.scan, *quick)


def test_a_batch_too_large_is_halved(head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    healer = METHODS["dif_fuse"].run

    def only_one(x0: Any, *arguments: Any, **told: Any) -> Any:
        return healer(x0, *arguments, **told) if len(x0) == 1 else exhausted()

    command = ("heal", head.scan, "--mask", head.mask, "--brain", head.brain, "--slices", "10:12", *QUICK)
    succeed(*command, "--out", tmp_path / "whole")
    monkeypatch.setitem(METHODS, "dif_fuse", replace(METHODS["dif_fuse"], run=only_one))
    succeed(*command, "--out", tmp_path / "halved")
    whole, halved = (read_nifti(tmp_path / f / "counterfactual.nii.gz").voxels for f in ("whole", "halved"))
    # the same noise whatever the batch; kernels may round differently
    assert np.abs(whole.astype(int) - halved).max() <= 8


# --- Ctrl-C ---------------------------------------------------------------------------------------------------


def interrupt(*arguments: Any, **options: Any) -> Any:
    raise KeyboardInterrupt


def test_ctrl_c_between_two_steps(head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    healer = METHODS["dif_fuse"].run

    def stopped(*arguments: Any, **told: Any) -> Any:
        *most, on_step = arguments

        def third(step: Any) -> None:
            on_step(step)
            if step.done == 3:
                raise KeyboardInterrupt

        return healer(*most, third, **told)

    monkeypatch.setitem(METHODS, "dif_fuse", replace(METHODS["dif_fuse"], run=stopped))
    refused(tmp_path, 130, "Cancelled", "heal", head.scan, "--box", head.box, "--brain", head.brain, *QUICK, late=True)


@pytest.mark.parametrize(
    "where",
    [
        "braindiffusion.io.read.read_scan", "braindiffusion.networks.build.Classifier.forward",
        "braindiffusion.pipeline.carry.carry_back", "matplotlib.figure.Figure.savefig",
        "braindiffusion.io.write.os.replace",
    ],
)  # fmt: skip
def test_ctrl_c_at_any_time(head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setattr(where, interrupt)
    quick = ("--brain", head.brain, "--slices", "11:12", "--noise-level", 0, "--progress", "none")
    ask = () if "Classifier" in where else ("--box", head.box)  # a drawn mask needs no classifier
    refused(tmp_path, 130, "Cancelled", "heal", head.scan, *ask, *quick, late="replace" in where)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_a_real_ctrl_c(head: Head, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "braindiffusion", "heal", str(head.scan), "--box", head.box, "--brain", str(head.brain),
        "--steps", "full", "--progress", "json", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    before = sha256(head.scan)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,  # the signal is for this process only
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests run in the background ignore it
    ) as process:  # fmt: skip
        try:
            for line in process.stderr:  # type: ignore[union-attr]
                if line.startswith("{") and json.loads(line)["stage"] == "heal":
                    break
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=180)
        finally:
            process.kill()
    assert process.returncode == 130
    last = [line for line in err.splitlines() if not line.startswith("{")]
    assert last[0].startswith("Cancelled")
    assert "Traceback" not in err
    assert out == ""
    assert not snapshot(tmp_path)
    assert sha256(head.scan) == before
