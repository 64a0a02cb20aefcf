"""Masks as DICOM: a Segmentation object (highdicom), or, where that is not installed, series of zeros and ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from braindiffusion import NOT_FOR_DIAGNOSIS, __version__
from braindiffusion.export.dicom import MANUFACTURER, NO_DATE, NO_TIME, Label, Study, save

if TYPE_CHECKING:
    from pydicom import Dataset


@dataclass(frozen=True)
class Segment:
    """A mask and what it marks.

    Attributes:
        mask: (I,J,K), not zero is inside.
        label: for people.
        is_lesion: coded as a lesion; else as a selected region.
        colour: red, green, blue, 0 to 255.
    """

    mask: np.ndarray
    label: str
    is_lesion: bool
    colour: tuple[int, int, int]


def write_masks(
    study: Study, file: Callable[[str], Path], number: int, segments: dict[str, Segment], images: list[Dataset],
    derivation: str,
) -> None:  # fmt: skip
    """Write the masks that are not empty: ``masks/0001.dcm``, or a series named as its mask.

    Args:
        segments: name -> segment.
        images: the series of the study that the masks lie on, as written.

    Raises:
        OutputError: they could not be written.
    """
    marked = {name: segment for name, segment in segments.items() if segment.mask.any()}
    if not marked:
        return
    if find_spec("highdicom") is None:
        for offset, (name, segment) in enumerate(marked.items()):
            label = Label(segment.label, derivation, flavour="MASK")
            study.write(file, name, number + offset, (segment.mask != 0).astype(np.uint8), label)
    else:
        save(_segmentation(study, number, list(marked.values()), images, derivation), file("masks/0001.dcm"))


def _segmentation(
    study: Study, number: int, segments: list[Segment], images: list[Dataset], derivation: str
) -> Dataset:
    import highdicom as hd
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    algorithm = hd.AlgorithmIdentificationSequence("braindiffusion", codes.DCM.ArtificialIntelligence, __version__)
    described = []
    for index, segment in enumerate(segments, 1):
        lesion = codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Lesion
        region = codes.SCT.SpatialAndRelationalConcept, codes.DCM.SelectedRegion
        category, kind = lesion if segment.is_lesion else region
        colour = hd.color.CIELabColor.from_rgb(*segment.colour)
        described.append(
            hd.seg.SegmentDescription(
                index, segment.label, category, kind, "AUTOMATIC", algorithm, display_color=colour
            )
        )
    planes = np.stack([study.grid.planes(segment.mask) != 0 for segment in segments], axis=-1)
    ds = hd.seg.Segmentation(
        source_images=images, pixel_array=planes.astype(np.uint8), segmentation_type="BINARY",
        segment_descriptions=described, series_instance_uid=generate_uid(prefix=None), series_number=number,
        sop_instance_uid=generate_uid(prefix=None), instance_number=1, manufacturer=MANUFACTURER,
        manufacturer_model_name="braindiffusion", software_versions=__version__, device_serial_number="none",
        content_label="SYNTHETIC", content_description="Masks of a synthetic image",
    )  # fmt: skip
    label = Label("masks", derivation)
    for element in study.header(label):
        if element.keyword not in ("Modality", "BurnedInAnnotation"):
            ds[element.tag] = element
    ds.SeriesDescription = f"SYNTHETIC - {label.description}"
    ds.DerivationDescription = f"{NOT_FOR_DIAGNOSIS}. {derivation}"[:1024]
    if study.anonymous:
        ds["ContentDate"].value, ds["ContentTime"].value = NO_DATE, NO_TIME  # a segmentation may not leave them empty
        for keyword in ("SeriesDate", "SeriesTime", "InstanceCreationDate", "InstanceCreationTime"):
            if keyword in ds:
                del ds[keyword]
    return ds
