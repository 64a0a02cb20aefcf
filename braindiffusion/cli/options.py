"""What the commands share: choices, options, parsing of small texts, and errors turned into exit codes."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from braindiffusion.errors import BrainDiffusionError, Cancelled, SettingsError
from braindiffusion.io.guard import inputs_kept
from braindiffusion.io.paths import at_home, known_home

if TYPE_CHECKING:
    import numpy as np

    from braindiffusion.volume.scan import Scan


class Split(str, Enum):
    train, val, test, all = "train", "val", "test", "all"


class FileFormat(str, Enum):
    nifti, nrrd = "nifti", "nrrd"


class ResultFormat(str, Enum):
    nifti, nrrd, dicom = "nifti", "nrrd", "dicom"


class ProgressKind(str, Enum):
    bar, json, none = "bar", "json", "none"


ScanPath = Annotated[Path, typer.Argument(help="NIfTI, NRRD, a DICOM folder or one DICOM file.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results; made when missing.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:n.")]
Progress = Annotated[ProgressKind, typer.Option(help="How progress is shown (on stderr).")]
Format = Annotated[ResultFormat, typer.Option("--format", help="dicom: a study of its own; see docs/dicom.md.")]
BurnIn = Annotated[bool, typer.Option("--burn-in", help="DICOM: draw the synthetic mark into every image's corner.")]
SeriesChoice = Annotated[
    str | None, typer.Option("--series", help="Of several DICOM series: its number, UID or description.")
]
MaskLabel = Annotated[str | None, typer.Option(help="Labels of the mask that count, such as 1,2,4.  [default: all]")]
ResampleMask = Annotated[bool, typer.Option("--resample-mask", help="Bring a mask on another grid to the scan's.")]
BrainFile = Annotated[Path | None, typer.Option("--brain", help="Your own brain mask, on the scan's grid.")]


class _Command(TyperCommand):
    """A command that refuses an empty path, which would stand for the folder one is in: a variable was not set, say."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = list(args)
        rest = super().parse_args(ctx, args)
        for before, value in zip(["", *given], given, strict=False):
            name = value[:-1] if value.startswith("--") and value.endswith("=") else before if value == "" else None
            if name is None:
                continue
            param: Any = next((p for p in self.params if name in p.opts), None)
            if param is None or isinstance(ctx.params.get(str(param.name)), Path):
                raise typer.BadParameter("It is empty.", ctx, param)
        return rest


class Commands(typer.Typer):
    """Commands that know ``~`` in every path they are given: a shell leaves that of ``--out=~/results`` as it is."""

    def command(self, *args: Any, **options: Any) -> Callable[[Any], Any]:
        """As Typer's."""
        register = super().command(*args, **{"cls": _Command, **options})

        def decorate(function: Any) -> Any:
            @functools.wraps(function)
            def run(**given: Any) -> Any:
                with report_errors():
                    values = {name: _expanded(value) for name, value in given.items()}
                    _check_places(values)
                inputs = [v for name, v in values.items() if name != "out"]
                paths = [p for v in inputs for p in (v if isinstance(v, list | tuple) else [v])]
                with inputs_kept(_named_files(paths)):
                    return function(**values)

            register(run)
            return function

        return decorate


def _named_files(given: list[Any]) -> Iterator[Path]:
    """What may be a file among values: a path, a text that is one (a recipe), or that names one (``a=scans``)."""
    for value in given:
        if isinstance(value, Path):
            yield value
        elif isinstance(value, str):
            yield from (at_home(part) for part in (value, value.partition("=")[2]) if part)


def _check_places(values: dict[str, Any]) -> None:
    """Raises OutputError or SettingsError where results are to go to a place that cannot be."""
    places = [values[name] for name in ("out", "key") if isinstance(values.get(name), Path)]
    if places:
        from braindiffusion.io.write import check_place

        for place in places:
            check_place(known_home(place))


def _expanded(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_expanded(each) for each in value]
    return at_home(value) if isinstance(value, Path) else value


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """Turn an error into its message on stderr and its exit code."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(str(Cancelled()), err=True)
        raise typer.Exit(Cancelled.exit_code) from None
    except (MemoryError, RuntimeError) as problem:
        from braindiffusion.models.device import machine_error

        error = machine_error(problem)
        if error is None:
            raise
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    except BrainDiffusionError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(error.exit_code) from None


def keep_inputs(out: Path, results: set[str], *inputs: Path | None) -> None:
    """Refuse to write over what was read.

    Args:
        results: names, without ending, of the files the command writes.

    Raises:
        SettingsError: a file given lies in OUT under the name of a result.
    """
    for given in inputs:
        place, name = os.path.split(os.path.realpath(given)) if given else ("", "")
        if given and place == os.path.realpath(out) and name.split(".")[0] in results:
            raise SettingsError(
                f"{given.name} in {out} would be replaced by a result.",
                "It was given as input.",
                "Choose another --out folder, or move the file.",
            )


def check_format(out: Path, file_format: ResultFormat, burn_in: bool) -> None:
    """Refuse what cannot be written, before any work.

    Raises:
        SettingsError: a mark is to be drawn into something else than DICOM.
        OutputError: OUT holds DICOM series of an earlier run.
    """
    if file_format is ResultFormat.dicom:
        from braindiffusion.export.dicom_result import check_unused

        check_unused(out)
    elif burn_in:
        raise SettingsError("--burn-in is for DICOM.", f"The format is {file_format.value}.", "Add --format dicom.")


def parse_labels(text: str | None) -> list[int] | None:
    """``1,2,4`` as numbers."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise SettingsError(
            f"--mask-label {text} is not possible.", "It is whole numbers with commas.", "Give --mask-label 1,2, say."
        ) from error


def read_drawn(
    volume: Scan, mask: Path | None, box: str | None, labels: list[int] | None, resample: bool, brain: Path | None
) -> tuple[Scan, np.ndarray | None, np.ndarray | None]:
    """The scan with what is to be said about its masks, the drawn region (mask or box), and the user's brain mask.

    Raises:
        SettingsError: options of a mask without one.
        InputError: as for :func:`~braindiffusion.io.read.read_mask`.
    """
    from braindiffusion.io.read import parse_box, read_mask

    if mask is None and (labels is not None or (resample and brain is None)):
        what = "--mask-label" if labels is not None else "--resample-mask"
        raise SettingsError(f"{what} without a mask.", "It says how a mask is read.", "Add the mask, or leave it out.")
    notes: list[str] = []
    drawn = parse_box(box, volume) if box else None
    if mask:
        drawn = read_mask(mask, volume, labels, resample, notes.append)
    own_brain = read_mask(brain, volume, None, resample, notes.append) if brain else None
    return replace(volume, notes=(*volume.notes, *notes)), drawn, own_brain


def parse_budget(text: str | None) -> float | None:
    """``90``, ``90s``, ``30m`` or ``2h`` in seconds."""
    if text is None:
        return None
    unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:])
    try:
        value = float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        value = -1.0
    if value <= 0:
        raise SettingsError(
            f"--budget {text} is not possible.", "It is a time such as 90s, 30m or 2h.", "Give --budget 2h, say."
        )
    return value
