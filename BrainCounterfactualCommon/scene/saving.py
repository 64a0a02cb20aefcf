"""Results as files: SYNTHETIC in every name and header, all of them or none."""

import csv
import gzip
import itertools
import json
import os
import re
import shutil
import tempfile

import numpy as np
import slicer

from BrainCounterfactualCommon.host import NOT_FOR_DIAGNOSIS, Problem
from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.scene import volumes

EXTENSIONS = {"nifti": ".nii.gz", "nrrd": ".nrrd"}


def saveResult(result, folder, fileFormat="nifti"):
    """Write volumes, table and provenance of a result into ``folder`` (made when missing); the paths written.

    The result's kind stands before its number in the names, so that results of two kinds do not replace each other.

    Raises:
        Problem: unknown format, no room, no permission.
    """
    if fileFormat not in EXTENSIONS:
        raise Problem(
            "SettingsError",
            _("There is no format '{name}'.").format(name=fileFormat),
            _("Known: {names}.").format(names=", ".join(EXTENSIONS)),
            _("Choose one of them."),
        )
    folder = os.path.abspath(os.path.expanduser(str(folder)))
    scan = result.volumeNode
    stem = re.sub(r"[^\w.-]+", "_", scan.GetName() if scan is not None else "scan").strip("_") or "scan"
    if not stem.startswith("SYNTHETIC_"):
        stem = "SYNTHETIC_" + stem
    stem = "_".join(part for part in (stem, result.kind, str(max(result.order, 1))) if part)
    staging = None
    try:
        os.makedirs(folder, exist_ok=True)
        staging = tempfile.mkdtemp(prefix=".SYNTHETIC-", dir=folder)
        for role, array in result.arrays():
            path = os.path.join(staging, "{}_{}{}".format(stem, role, EXTENSIONS[fileFormat]))
            _write(array, scan if scan is not None else result.node, path)
        _writeRows(result.slices, os.path.join(staging, stem + "_slices.csv"))
        for name, told in dict(result.facts(), provenance=result.provenance).items():
            with open(os.path.join(staging, "{}_{}.json".format(stem, name)), "w", encoding="utf-8") as stream:
                json.dump(told, stream, indent=2)
        names = sorted(os.listdir(staging))
        for name in names:
            os.replace(os.path.join(staging, name), os.path.join(folder, name))
    except (
        OSError,
        EOFError,
    ) as error:  # full disk: VTK may write half a file in silence
        raise Problem(
            "OutputError",
            _("The result cannot be written to {folder}.").format(folder=folder),
            getattr(error, "strerror", None) or str(error),
            _("Choose another folder, or free some space."),
        ) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return [os.path.join(folder, name) for name in names]


def freshFolder(folder, name):
    """Path of ``folder/name_N`` with the lowest N from 1 that is not there yet; nothing is made."""
    base = os.path.join(os.path.abspath(os.path.expanduser(str(folder))), name)
    return next(path for path in ("{}_{}".format(base, n) for n in itertools.count(1)) if not os.path.lexists(path))


def _write(array, like, path):
    own = slicer.vtkMRMLScene()  # a scene of its own: nothing of this is seen
    node = slicer.vtkMRMLScalarVolumeNode()
    own.AddNode(node)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array))
    node.SetIJKToRASMatrix(volumes.vtkMatrix(volumes.ijkToRas(like)))
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    own.AddNode(storage)
    storage.SetFileName(path)
    storage.SetUseCompression(True)
    if not storage.WriteData(node) or not os.path.isfile(path):
        free = shutil.disk_usage(os.path.dirname(path)).free
        raise OSError(_("{name}: {free:.0f} MB are free.").format(name=os.path.basename(path), free=free / 1e6))
    _label(path)


def _label(path):
    """Say in the file's header that it is synthetic: NIfTI's ``descrip``, a field of NRRD."""
    note = NOT_FOR_DIAGNOSIS.encode("ascii")
    if path.endswith(".nii.gz"):
        with gzip.open(path, "rb") as stream:
            data = bytearray(stream.read())
        data[148:228] = note.ljust(80, b"\0")
        with gzip.open(path, "wb", compresslevel=4) as stream:
            stream.write(data)
    else:
        with open(path, "rb") as stream:
            magic, rest = stream.readline(), stream.read()
        with open(path, "wb") as stream:
            stream.write(magic + b"synthetic:=" + note + b"\n" + rest)


def _writeRows(rows, path):
    names = sorted({name for row in rows for name in row})
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)
