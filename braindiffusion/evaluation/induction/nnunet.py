"""nnU-Net v2 as a second, stronger judge: pairs out as its dataset folder, its predictions back in.

nnU-Net itself is neither needed nor called; the commands are in docs/induction_evaluation.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from braindiffusion import RESEARCH_USE_ONLY
from braindiffusion.errors import PackError
from braindiffusion.evaluation.induction.evaluate import KindResult
from braindiffusion.evaluation.induction.pairs import lesion_rows
from braindiffusion.evaluation.induction.scores import overlap
from braindiffusion.io.checks import quiet_sitk
from braindiffusion.io.text_files import read_json
from braindiffusion.io.write import OutputFolder
from braindiffusion.pipeline.provenance import plain
from braindiffusion.volume.masks import boxes

FIRST_ID = 501
ENDING = ".nii.gz"
REAL, PRIOR = "real", "prior"


def dataset_name(kind: str, number: int) -> str:
    """nnU-Net's folder name, such as ``Dataset501_StrokeFlair``."""
    return f"Dataset{FIRST_ID + number}_{kind.title().replace('_', '')}"


def _write(path: Path, plane: np.ndarray, pitch_mm: float) -> None:
    sitk = quiet_sitk()
    image = sitk.GetImageFromArray(np.ascontiguousarray(plane))
    image.SetSpacing((pitch_mm, pitch_mm))
    sitk.WriteImage(image, str(path), True)


def export(result: KindResult, folder: OutputFolder, base: str, number: int, condition: str) -> str:
    """Write one kind as a dataset: training slices, and a folder of test images for each set.

    ``imagesTr``/``labelsTr`` hold the real lesion slices of the train split; ``imagesTs_real``, ``imagesTs_prior`` and
    ``imagesTs_METHOD`` the pairs; ``asked`` and ``drawn`` the masks they are compared with; ``pairs.json`` says whose.

    Returns:
        The dataset's name.
    """
    name, p = dataset_name(result.kind, number), result.pairs
    train = result.train.select(lesion_rows(result.train))
    ids = [f"{result.kind}_{i:04d}" for i in range(len(train.image))]

    def put(where: str, case: str, plane: np.ndarray) -> None:
        _write(folder.file(f"{base}/{name}/{where}/{case}{ENDING}"), plane, p.pitch_mm)

    for case, image, lesion in zip(ids, train.image, train.lesion, strict=True):
        put("imagesTr", f"{case}_0000", image.astype(np.float32))
        put("labelsTr", case, lesion.astype(np.uint8))
    sets = {REAL: p.real, PRIOR: p.prior} | {n: m.images for n, m in result.painted.items()}
    cases = [f"pair_{i:04d}" for i in range(len(p))]
    for key, images in sets.items():
        for case, image in zip(cases, images, strict=True):
            put(f"imagesTs_{key}", f"{case}_0000", image)
    for i, case in enumerate(cases):
        put("asked", case, p.asked[i].astype(np.uint8))
        put("drawn", case, p.real_asked[i].astype(np.uint8))
    dataset = {
        "channel_names": {"0": str(result.facts["modality"])},
        "labels": {"background": 0, "lesion": 1},
        "numTraining": len(ids),
        "file_ending": ENDING,
        "overwrite_image_reader_writer": "SimpleITKIO",
    }
    pairs = {
        "use": RESEARCH_USE_ONLY, "kind": result.kind, "condition": condition, "pitch_mm": p.pitch_mm,
        "sets": list(sets), "cases": cases, "patient": p.patient, "stratum": p.stratum,
    }  # fmt: skip
    for key, content in (("dataset", dataset), ("pairs", pairs)):
        text = json.dumps(plain(content), indent=2) + "\n"
        folder.file(f"{base}/{name}/{key}.json").write_text(text, encoding="utf-8")
    return name


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise PackError(
            f"There is no prediction {path.name} in {path.parent.name}.", "nnU-Net has not predicted that case.",
            "Run nnUNetv2_predict on the whole folder.",
        )  # fmt: skip
    try:
        plane = quiet_sitk().GetArrayFromImage(quiet_sitk().ReadImage(str(path)))
    except RuntimeError as error:
        raise PackError(f"{path.name} cannot be read.", str(error).splitlines()[0], "Predict it again.") from error
    return np.asarray(plane).squeeze() > 0


def score(dataset: Path, predictions: Path) -> dict[str, Any]:
    """Overlap of nnU-Net's predictions with the masks asked for, by the definitions of the other tables.

    Args:
        dataset: a folder that :func:`export` wrote; predictions: a folder with one folder for each set (``real``,
            ``prior``, ``mededit`` ...), holding ``pair_0000.nii.gz`` and so on. Sets without a folder are left out.

    Raises:
        PackError: not such a folder, a case without a prediction, or predictions of another size.
    """
    try:
        pairs = read_json(dataset / "pairs.json")
        cases, patient, stratum = pairs["cases"], np.array(pairs["patient"]), np.array(pairs["stratum"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PackError(
            f"{dataset} is no exported dataset.", f"pairs.json: {error}", "Give a Dataset folder that "
            "`evaluate induction --nnunet` wrote.",
        ) from error  # fmt: skip
    present = [s for s in pairs["sets"] if (predictions / s).is_dir()]
    if not present:
        raise PackError(
            f"{predictions} holds no predictions.", f"Expected folders: {', '.join(pairs['sets'])}.",
            "Predict each imagesTs_SET into a folder named SET.",
        )  # fmt: skip
    out: dict[str, Any] = {}
    for name in present:
        wanted = np.stack([_read(dataset / ("drawn" if name == REAL else "asked") / f"{c}{ENDING}") for c in cases])
        found = np.stack([_read(predictions / name / f"{c}{ENDING}") for c in cases])
        if found.shape != wanted.shape:
            raise PackError(
                f"The predictions of {name} have another size.", f"{found.shape[1:]}, not {wanted.shape[1:]}.",
                "Predict the exported images.",
            )  # fmt: skip
        if pairs["condition"] == "box":
            found = boxes(found)
        out[name] = overlap(found, wanted, patient, stratum, float(pairs["pitch_mm"]))
    facts = {
        "use": RESEARCH_USE_ONLY, "kind": pairs["kind"], "condition": pairs["condition"], "judge": "nnU-Net v2",
        "sets": out, "missing": [s for s in pairs["sets"] if s not in present],
    }  # fmt: skip
    return plain(facts)
