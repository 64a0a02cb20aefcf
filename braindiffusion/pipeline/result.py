"""What every result of a scan does when it is asked to: write itself, and show itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braindiffusion.volume.scan import Scan

if TYPE_CHECKING:
    from PIL.Image import Image

Exports = tuple[Callable[..., Any], Callable[..., None]]
"""``write(folder, scan, result, file_format, burn_in)`` and ``draw(scan, result, file)``."""


class Result(ABC):
    """Base of results.

    Attributes:
        scan: that the result was made from.
    """

    scan: Scan

    @abstractmethod
    def _exports(self) -> Exports:
        """How it is written, and drawn."""

    def save(self, folder: str | Path, file_format: str = "nifti", burn_in: bool = False) -> Path:
        """Write volumes, a picture and the provenance into a folder, all or nothing; returns the folder.

        Args:
            file_format: ``nifti``, ``nrrd`` or ``dicom`` (a saliency: not ``dicom``).
            burn_in: DICOM: draw the synthetic mark into the images.

        Raises:
            OutputError: the folder cannot be written.
        """
        self._exports()[0](Path(folder), self.scan, self, file_format, burn_in)
        return Path(folder)

    def show(self) -> Image:
        """A picture of the slices that matter, with the synthetic mark. A notebook shows it where it ends a cell."""
        from braindiffusion.export.pictures import picture_of

        return picture_of(self._exports()[1], self.scan, self)
