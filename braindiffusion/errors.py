"""Every error a user can meet: what happened, why, and the one thing to do.

Each class carries the exit code of the command line: 2 usage, 3 bad input, 4 environment, 130 cancelled.
"""

from __future__ import annotations


class BrainDiffusionError(Exception):
    """Base of all errors meant for the user.

    Args:
        what: what happened, one sentence.
        why: the cause, as far as it is known.
        action: the one thing to do about it.
    """

    exit_code = 3

    def __init__(self, what: str, why: str = "", action: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.action = what, why, action

    def __str__(self) -> str:
        parts = [self.what]
        if self.why:
            parts.append(f"Why: {self.why}")
        if self.action:
            parts.append(f"Do: {self.action}")
        return "\n".join(parts)

    def as_dict(self) -> dict[str, str]:
        """The error as plain data, for JSON progress and the worker protocol."""
        return {"class": type(self).__name__, "what": self.what, "cause": self.why, "action": self.action}


class InputError(BrainDiffusionError):
    """Something is wrong with what the user gave."""


class ScanNotFoundError(InputError):
    """The path holds no scan."""


class ScanUnreadableError(InputError):
    """The file exists but cannot be decoded (truncated, wrong type, damaged)."""


class ScanDimensionError(InputError):
    """Not one 3-D volume: a time series, a stack of channels, or empty."""


class ScanPixelTypeError(InputError):
    """Colour or complex voxels."""


class ScanContentError(InputError):
    """NaN, infinite or constant voxels."""


class ScanGeometryError(InputError):
    """Spacing or axes that describe no grid in space."""


class DicomSeriesError(InputError):
    """A DICOM folder that is not exactly one evenly spaced series."""


class NotABrainError(InputError):
    """No brain was found in the scan."""


class ModalityError(InputError):
    """The scan's modality is not the one the model was trained for."""


class MaskGeometryError(InputError):
    """The mask lives on another grid than the scan."""


class MaskValueError(InputError):
    """The values of a mask are neither labels nor probabilities, or it does not hold the labels asked for."""


class EmptyMaskError(InputError):
    """The mask selects nothing (or nothing inside the brain)."""


class LesionSizeError(InputError):
    """A lesion to induce that is too large, smaller than a voxel, or does not fit where it is to lie."""


class BoxError(InputError):
    """The box is malformed or lies outside the scan."""


class SliceRangeError(InputError):
    """The slice range selects nothing."""


class PackError(InputError):
    """A pack of slices that does not follow the format."""


class CohortError(InputError):
    """Scans that do not make a cohort: two files for one scan, the same scan twice, a mask that is missing."""


class QuarantineError(InputError):
    """A case that cannot be shown to be free of what identifies the patient; nothing of it was written."""


class StudyError(InputError):
    """Scans that make no reader study: an empty folder, one scan twice, grids that tell the methods apart."""


class StudyKeyError(InputError):
    """A study's key that is missing, of another study, or changed; or a study changed since it was sealed."""


class AnswersError(InputError):
    """Readers' answers that were changed, damaged, or given to another study."""


class UnfinishedStudyError(InputError):
    """A study that some reader has not finished: unblinding now would end it."""


class TeachingFileError(InputError):
    """A folder of results, or a collection, that no teaching file or list can be made of."""


class SettingsError(BrainDiffusionError):
    """A setting outside its range, or two that exclude each other."""

    exit_code = 2


class RecipeError(SettingsError):
    """A training recipe that is unknown or malformed."""


class StudyProtocolError(SettingsError):
    """A study protocol that is unknown or malformed."""


class EnvironmentProblemError(BrainDiffusionError):
    """The machine lacks something: a model, memory, disk, permission."""

    exit_code = 4


class ModelNotFoundError(EnvironmentProblemError):
    """No model of that name is installed."""


class ModelCorruptError(EnvironmentProblemError):
    """The weights do not match their card (checksum, shapes, header)."""


class ModelFormatError(EnvironmentProblemError):
    """Weights in a format that is refused (a pickle) or a card that cannot be read."""


class DeviceError(EnvironmentProblemError):
    """The requested device is not there."""


class MemoryExhaustedError(EnvironmentProblemError):
    """Out of memory even at the smallest batch."""


class OutputError(EnvironmentProblemError):
    """The output cannot be written: permission, disk full, read-only."""


class DeviceLostError(EnvironmentProblemError):
    """The GPU failed in the middle of the work; this process cannot use it any more."""


class DependencyMissingError(EnvironmentProblemError):
    """An optional package is needed for this command."""


class PluginError(EnvironmentProblemError):
    """Another package brings a method, finder or inducer that cannot be used."""


class ClusterError(EnvironmentProblemError):
    """Worker processes that cannot be reached, died, or run another version."""


class OutsideChangedError(BrainDiffusionError):
    """A voxel outside the edited region changed: a defect of ours, so the result is withheld."""

    exit_code = 4


class Cancelled(BrainDiffusionError):  # noqa: N818 - the usual name for a stop the user asked for
    """The user stopped the work. Nothing was written."""

    exit_code = 130

    def __init__(self) -> None:
        super().__init__("Cancelled.", "You asked to stop.", "Run it again when you are ready; nothing was written.")


class ProtocolError(BrainDiffusionError):
    """A message to the worker that it does not understand."""

    exit_code = 2


class BusyError(BrainDiffusionError):
    """The worker runs another job."""

    exit_code = 4
