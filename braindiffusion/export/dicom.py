"""Results as DICOM that nobody can take for an acquisition.

Each export is a study of its own with new UIDs, in the frame of reference of its source and on its grid. Every image
says that it is synthetic: Synthetic Data (PS3.3 C.12.1), ``DERIVED\\SECONDARY``, a series description that begins with
SYNTHETIC, the contributing equipment, and how it was derived from which images. Nothing about the patient is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braindiffusion import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY, __version__
from braindiffusion.errors import OutputError, ScanGeometryError
from braindiffusion.export.dicom_source import KINDS, Source
from braindiffusion.export.marks import words
from braindiffusion.io.checks import SHEAR
from braindiffusion.volume.scan import LPS_TO_RAS, Scan

if TYPE_CHECKING:
    from pydicom import Dataset

NO_DATE, NO_TIME = "19000101", "000000"
"""Stand where the standard wants a date and nobody is to know it."""
MANUFACTURER = "SlicerBrainCounterfactual"
IMPLEMENTATION_UID = "2.25.205278674384143465220368474107558042208"
DEIDENTIFIED = "DE-IDENTIFIED - NOT FOR DIAGNOSIS"


@dataclass(frozen=True)
class Grid:
    """The planes of a series.

    Attributes:
        order, flip: voxel axes of the scan as (slice, row, column), and which of them are reversed.
        axes: (3,3), columns: direction along a row, down a column, from slice to slice; LPS, unit length.
        pitch: mm (between rows, between columns, between slices).
        first: (3,) LPS mm of the first pixel.
    """

    order: tuple[int, int, int]
    flip: tuple[bool, bool, bool]
    axes: np.ndarray
    pitch: tuple[float, float, float]
    first: np.ndarray

    def planes(self, voxels: np.ndarray) -> np.ndarray:
        """(I,J,K) -> (slices, rows, columns)."""
        return voxels.transpose(self.order)[tuple(slice(None, None, -1) if f else slice(None) for f in self.flip)]

    def position(self, index: int) -> np.ndarray:
        """(3,) LPS mm of the first pixel of a slice."""
        return self.first + index * self.pitch[2] * self.axes[:, 2]


def grid_of(scan: Scan, axes: np.ndarray | None = None) -> Grid:
    """How a scan is cut into planes: its voxel axes, taken along those of the source, else axially.

    Nothing is interpolated; axes are only reordered and reversed.

    Args:
        axes: of a :class:`~braindiffusion.export.dicom_source.Source`; ``None``: to the left, backwards, upwards.

    Raises:
        ScanGeometryError: the voxel axes are not at right angles.
    """
    lps = LPS_TO_RAS @ scan.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    if np.abs(direction.T @ direction - np.eye(3)).max() > SHEAR:
        raise ScanGeometryError(
            "The scan's axes are sheared.", "DICOM knows right angles only.", "Resample it to a straight grid."
        )
    likeness = (np.eye(3) if axes is None else axes).T @ direction  # rows: column index, row index, slice
    column, row, across = max(permutations(range(3)), key=lambda p: sum(abs(likeness[i, a]) for i, a in enumerate(p)))
    order = (across, row, column)
    flip = (likeness[2, across] < 0, likeness[1, row] < 0, likeness[0, column] < 0)
    corner = [scan.voxels.shape[a] - 1 if flip[order.index(a)] else 0 for a in range(3)]
    signed = direction * np.array([-1.0 if flip[order.index(a)] else 1.0 for a in range(3)])
    return Grid(
        order, (bool(flip[0]), bool(flip[1]), bool(flip[2])), signed[:, [column, row, across]],
        (float(spacing[row]), float(spacing[column]), float(spacing[across])), (lps @ [*corner, 1.0])[:3],
    )  # fmt: skip


@dataclass(frozen=True)
class Coding:
    """How values become 16-bit numbers: ``value = stored * slope + intercept``."""

    signed: bool
    slope: float = 1.0
    intercept: float = 0.0

    @classmethod
    def of(cls, *arrays: np.ndarray, rescale: tuple[float, float] | None = None) -> Coding:
        """One coding for several arrays: exact for whole numbers that fit, else as fine as 16 bits allow.

        Zero stays zero. Values that are not finite are stored as 0.

        Args:
            rescale: of the source, taken where the values need one and it fits them.
        """
        finite = [np.nan_to_num(a, posinf=0, neginf=0) if a.dtype.kind == "f" else a for a in arrays]
        low, high = min(float(a.min()) for a in finite), max(float(a.max()) for a in finite)
        whole = all(a.dtype.kind in "biu" or bool((a == np.rint(a)).all()) for a in finite)
        prefers_signed = all(a.dtype.kind == "i" for a in finite)
        if whole and low >= 0 and high <= 65535 and not (prefers_signed and high <= 32767):
            return cls(False)
        if whole and low >= -32768 and high <= 32767:
            return cls(True)
        if rescale is not None:
            ends = sorted((v - rescale[1]) / rescale[0] for v in (low, high))
            if ends[0] >= -0.5 and ends[1] <= 65535.5:
                return cls(False, *rescale)
            if ends[0] >= -32768.5 and ends[1] <= 32767.5:
                return cls(True, *rescale)
        signed = low < 0
        span = max(-low, high) / 32767 if signed else high / 65535
        return cls(signed, float(f"{max(span, 1e-12):.9e}"))

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Values -> int16 or uint16, the nearest there is."""
        dtype = np.int16 if self.signed else np.uint16
        if (self.slope, self.intercept) != (1.0, 0.0) or values.dtype.kind == "f":
            finite = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
            values = np.rint((finite - self.intercept) / self.slope)
        info = np.iinfo(dtype)
        return np.clip(values, info.min, info.max).astype(dtype)


@dataclass(frozen=True)
class Label:
    """What a series shows.

    Attributes:
        description: goes behind "SYNTHETIC - " (or "DE-IDENTIFIED - ").
        derivation: how it was made, one or two sentences.
        synthetic: whether a network painted in it.
        flavour: fourth value of ImageType, such as ``ANOMALY``.
    """

    description: str
    derivation: str
    synthetic: bool = True
    flavour: str | None = None


@dataclass
class Study:
    """One export: series that share a study, a patient without a name, a frame of reference and a grid.

    Attributes:
        scan: whose grid the series lie on.
        source: the DICOM series the scan came from.
        anonymous: leave out what could lead back: references to source images, their frame of reference, all dates.
        burn_in: draw the synthetic mark into the corner of every image.
        patient: takes the place of a patient ID; "" draws one from the scan's voxels.
    """

    scan: Scan
    source: Source | None = None
    anonymous: bool = False
    burn_in: bool = False
    patient: str = ""
    made: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def __post_init__(self) -> None:
        import hashlib

        from pydicom.uid import generate_uid

        self.uid = generate_uid(prefix=None)
        known = self.source.frame_of_reference if self.source and not self.anonymous else ""
        self.frame_of_reference = known or generate_uid(prefix=None)
        self.grid = grid_of(self.scan, self.source.axes if self.source else None)
        self.modality = self.source.modality if self.source else "CT" if self.scan.modality == "CT" else "MR"
        if not self.patient:
            self.patient = "SYN-" + hashlib.sha256(self.scan.voxels.tobytes()).hexdigest()[:12]

    def write(
        self, file: Callable[[str], Path], name: str, number: int, voxels: np.ndarray, label: Label,
        coding: Coding | None = None,
    ) -> list[Dataset]:  # fmt: skip
        """Write a series as ``name/0001.dcm`` ..., slices in order along their normal.

        Args:
            file: gives the path to write a name to, as :meth:`braindiffusion.io.write.OutputFolder.file` does.
            number: of the series.
            voxels: (I,J,K) on the scan's grid.
            coding: ``None`` finds one for these voxels.

        Returns:
            The images as written.

        Raises:
            OutputError: they could not be written.
        """
        coding = coding or Coding.of(voxels, rescale=self.source.rescale if self.source else None)
        planes = coding.encode(self.grid.planes(voxels))
        low, high = (float(v) for v in np.percentile(planes, [1, 99.5]))
        window = (low, high if high > low else float(planes.max()))
        if self.burn_in and label.synthetic:
            mark = words(planes.shape[1:], NOT_FOR_DIAGNOSIS.split(" - "), max(8, planes.shape[1] // 24))
            planes[:, mark] = round(window[1])
        common = self._common(number, label, coding, window)
        images = [self._image(common, index, plane) for index, plane in enumerate(planes)]
        for image in images:
            save(image, file(f"{name}/{image.InstanceNumber:04d}.dcm"))
        return images

    def _common(self, number: int, label: Label, coding: Coding, window: tuple[float, float]) -> Dataset:
        """All that the images of a series share."""
        from pydicom.uid import generate_uid

        ds = self.header(label)
        ds.SOPClassUID = KINDS[self.modality]
        ds.SeriesInstanceUID, ds.SeriesNumber = generate_uid(prefix=None), number
        ds.AcquisitionNumber = None
        mark = NOT_FOR_DIAGNOSIS if label.synthetic else DEIDENTIFIED
        ds.SeriesDescription = f"{mark.split(' - ')[0]} - {label.description}"[:64]
        third = "AXIAL" if self.modality == "CT" else "OTHER"
        ds.ImageType = ["DERIVED", "SECONDARY", third] + ([label.flavour] if label.flavour else [])
        ds.DerivationDescription = f"{mark}. {label.derivation}"[:1024]
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = self.frame_of_reference, None
        row, column = self.grid.axes[:, 0], self.grid.axes[:, 1]
        ds.ImageOrientationPatient = _decimals([*row, *column])
        ds.PixelSpacing = _decimals(self.grid.pitch[:2])
        ds.SliceThickness = ds.SpacingBetweenSlices = _decimals(self.grid.pitch[2:])[0]
        acquisition = self.source.acquisition if self.source else {}
        for keyword, value in (_required(self.modality, acquisition) | acquisition).items():
            setattr(ds, keyword, value)
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, int(coding.signed)
        if self.modality == "CT" or (coding.slope, coding.intercept) != (1.0, 0.0):
            ds.RescaleSlope, ds.RescaleIntercept = _decimals([coding.slope, coding.intercept])
            ds.RescaleType = "HU" if self.modality == "CT" and label.flavour is None else "US"
        low, high = (v * coding.slope + coding.intercept for v in window)
        ds.WindowCenter, ds.WindowWidth = _decimals([(low + high) / 2, max(high - low, 1e-6)])
        if high - low < 1:
            ds.VOILUTFunction = "LINEAR_EXACT"  # the usual function wants a width of at least 1
        return ds

    def _image(self, common: Dataset, index: int, plane: np.ndarray) -> Dataset:
        """One image of a series."""
        from copy import deepcopy

        from pydicom.uid import generate_uid

        ds = deepcopy(common)
        ds.SOPInstanceUID, ds.InstanceNumber = generate_uid(prefix=None), index + 1
        position = self.grid.position(index)
        ds.ImagePositionPatient = _decimals(position)
        ds.Rows, ds.Columns = plane.shape
        ds.PixelData = plane.astype(plane.dtype.newbyteorder("<")).tobytes()
        if self.source is not None and not self.anonymous:
            found = self.source.near(position, 0.1 * self.grid.pitch[2])
            if found is not None:
                ds.SourceImageSequence = [_reference(found.sop_class, found.sop_instance, found.frame)]
        return ds

    def header(self, label: Label) -> Dataset:
        """Patient, study, equipment and the marks: what every instance of the export says."""
        from pydicom import Dataset

        ds = Dataset()
        ds.SpecificCharacterSet = "ISO_IR 192"
        day, time = (None, None) if self.anonymous else (self.made.strftime("%Y%m%d"), self.made.strftime("%H%M%S"))
        ds.StudyDate, ds.StudyTime, ds.ContentDate, ds.ContentTime = day, time, day, time
        if not self.anonymous:
            ds.SeriesDate, ds.SeriesTime, ds.InstanceCreationDate, ds.InstanceCreationTime = day, time, day, time
            ds.TimezoneOffsetFromUTC = "+0000"
        ds.AccessionNumber, ds.ReferringPhysicianName, ds.StudyID = None, None, "1"
        ds.Modality, ds.BodyPartExamined = self.modality, "HEAD"
        ds.Manufacturer, ds.ManufacturerModelName = MANUFACTURER, "braindiffusion"
        ds.SoftwareVersions, ds.DeviceSerialNumber = __version__, "none"
        mark = NOT_FOR_DIAGNOSIS if label.synthetic else DEIDENTIFIED
        ds.StudyDescription, ds.ImageComments = mark, f"{mark}. {RESEARCH_USE_ONLY}"
        ds.PatientName, ds.PatientID = mark.replace(" - ", "^"), self.patient
        ds.PatientBirthDate, ds.PatientSex = None, None
        ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", "Nothing about the patient was taken over"
        ds.LongitudinalTemporalInformationModified = "REMOVED"
        ds.BurnedInAnnotation = "NO"
        ds.StudyInstanceUID = self.uid
        ds.SyntheticData = "YES" if label.synthetic else "NO"
        ds.ContributingEquipmentSequence = [self._equipment(label)]
        return ds

    def _equipment(self, label: Label) -> Dataset:
        from pydicom import Dataset

        item = Dataset()
        code = ("109100", "Synthesizing Equipment") if label.synthetic else ("109104", "De-identifying Equipment")
        item.PurposeOfReferenceCodeSequence = [coded(code[0], "DCM", code[1])]
        item.Manufacturer, item.ManufacturerModelName = MANUFACTURER, "braindiffusion"
        item.SoftwareVersions = __version__
        item.ContributionDescription = label.derivation[:1024]
        if not self.anonymous:
            item.ContributionDateTime = self.made.strftime("%Y%m%d%H%M%S") + "+0000"
        return item


def _required(modality: str, acquisition: dict[str, Any]) -> dict[str, Any]:
    """What the standard wants of an image, for where the source does not say it; ``None`` is empty, which it allows."""
    if modality == "CT":
        return {"KVP": None, "PatientPosition": None}
    wanted = {
        "ScanningSequence": "RM", "SequenceVariant": "NONE", "ScanOptions": None, "MRAcquisitionType": None,
        "RepetitionTime": None, "EchoTime": None, "EchoTrainLength": None, "PatientPosition": None,
    }  # fmt: skip
    inverted = "IR" in np.atleast_1d(acquisition.get("ScanningSequence", ""))
    return wanted | ({"InversionTime": None} if inverted else {})


def _reference(sop_class: str, sop_instance: str, frame: int | None) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    if frame is not None:
        item.ReferencedFrameNumber = frame
    item.PurposeOfReferenceCodeSequence = [coded("121322", "DCM", "Source image for image processing operation")]
    return item


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    """An item of a code sequence."""
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _decimals(values: Sequence[float] | np.ndarray) -> list[Any]:
    """Numbers as DICOM's decimal strings, of 16 characters at most."""
    from pydicom.valuerep import DSfloat

    return [DSfloat(0.0 if abs(v) < 1e-14 else float(v), auto_format=True) for v in values]


def save(image: Dataset, path: Path) -> None:
    """Write one instance in Explicit VR Little Endian.

    Raises:
        OutputError: it cannot be written.
    """
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, UID(IMPLEMENTATION_UID)
    meta.ImplementationVersionName = f"BRAINDIFF {__version__}"[:16]
    image.file_meta = meta
    try:
        image.save_as(path, enforce_file_format=True)
    except ValueError as error:
        raise OutputError(f"{path.name} could not be written as DICOM.", str(error), "Write NIfTI instead.") from error
