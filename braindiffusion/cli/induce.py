"""The command that induces a lesion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from braindiffusion import RESEARCH_USE_ONLY
from braindiffusion.cli.options import (
    BrainFile,
    BurnIn,
    Format,
    MaskLabel,
    Out,
    Progress,
    ProgressKind,
    ResampleMask,
    ResultFormat,
    ScanPath,
    SeriesChoice,
    check_format,
    keep_inputs,
    parse_labels,
    read_drawn,
    report_errors,
)
from braindiffusion.cli.settings import made, settings_options
from braindiffusion.errors import SettingsError
from braindiffusion.settings import InduceSettings, ShapeSettings

if TYPE_CHECKING:
    import numpy as np

    from braindiffusion.pipeline.induce import InduceResult
    from braindiffusion.volume.scan import Scan

SHAPE = ("ml", "side", "lobe", "territory")
"""Options of a random lesion."""
RESULTS = {
    "diseased", "lesion", "generate_mask", "edited", "difference", "deviation", "displaced",
    "displacement_mm", "displaced_outline",
}  # fmt: skip


def induce_and_write(
    scan: Scan, lesion: np.ndarray | ShapeSettings, settings: InduceSettings, brain: np.ndarray | None,
    out: Path, file_format: ResultFormat, progress: ProgressKind, burn_in: bool = False,
) -> InduceResult:  # fmt: skip
    """Check that the output can be written, induce, write, and say what came out."""
    from braindiffusion.io.write import check_writable, free_space_check
    from braindiffusion.pipeline.induce import induce_scan
    from braindiffusion.pipeline.progress import reporter

    check_writable(out)
    free_space_check(out, 6 * scan.voxels.nbytes + (4 << 20))
    with reporter(progress.value) as tell:
        result = induce_scan(scan, lesion, settings, brain=brain, on_event=tell)
    facts, effects = result.provenance, result.effects
    result.save(out, file_format.value, burn_in)
    for warning in result.warnings:
        typer.echo(f"Warning: {warning}", err=True)
    calls = facts["network_calls"]
    each = calls["per_slice"] / calls["slices_painted"]
    typer.echo(
        f"{effects['lesion_ml']:.1f} mL painted in {calls['slices_painted']} slices, {each:.0f} network calls each; "
        f"{effects['changed_outside_ml']:.1f} mL changed around it; {facts['seconds']:.0f} s"
    )
    if effects["mass_effect"] is not None:
        from braindiffusion.lesions.mass_effect import in_words

        typer.echo(in_words(effects["mass_effect"]))
    typer.echo(f"{out / 'overview.png'}\n{RESEARCH_USE_ONLY}")
    return result


def grow_and_write(
    scan: Scan, lesion: np.ndarray | ShapeSettings, settings: InduceSettings, brain: np.ndarray | None, count: int,
    out: Path, file_format: ResultFormat, progress: ProgressKind,
) -> None:  # fmt: skip
    """As :func:`induce_and_write`, for a growth series."""
    from braindiffusion.export.series import write_series
    from braindiffusion.io.write import check_writable, free_space_check
    from braindiffusion.pipeline.progress import reporter
    from braindiffusion.pipeline.series import induce_series

    check_writable(out)
    free_space_check(out, 2 * count * scan.voxels.nbytes + (4 << 20))
    with reporter(progress.value) as tell:
        results = list(induce_series(scan, lesion, settings, count, brain=brain, on_event=tell))
    write_series(out, scan, results, file_format.value)
    for warning in dict.fromkeys(w for result in results for w in result.warnings):
        typer.echo(f"Warning: {warning}", err=True)
    first, last = (result.effects["lesion_ml"] for result in (results[0], results[-1]))
    typer.echo(f"{len(results)} volumes, {first:.1f} to {last:.1f} mL")
    typer.echo(f"{out / 'growth.gif'}\n{RESEARCH_USE_ONLY}")


def _one_source(lesion: Path | None, box: str | None, random: str | None) -> None:
    given = [name for name, v in (("--lesion", lesion), ("--box", box), ("--random", random)) if v is not None]
    if len(given) != 1:
        raise SettingsError(
            f"{' and '.join(given)} exclude each other." if given else "There is no lesion to induce.",
            "Each says where the lesion is to lie." if given else "None of --lesion, --box and --random was given.",
            "Give one of them.",
        )


# long: each option is a parameter
@settings_options(InduceSettings, required=("kind",), defaults={"condition": None})
@settings_options(ShapeSettings, rename={"kind": "random"}, defaults={"kind": None})
def induce(
    scan: ScanPath,
    out: Out,
    lesion: Annotated[Path | None, typer.Option(help="The lesion's mask (on the scan's grid).")] = None,
    box: Annotated[
        str | None, typer.Option(help="A lesion somewhere in i0,j0,k0,i1,j1,k1 (voxels as stored, ends included).")
    ] = None,
    series: SeriesChoice = None,
    mask_label: MaskLabel = None,
    resample_mask: ResampleMask = False,
    grow: Annotated[
        int | None, typer.Option(min=2, max=50, help="A growth series: this many volumes, from small to its full size.")
    ] = None,
    brain: BrainFile = None,
    file_format: Format = ResultFormat.nifti,
    burn_in: BurnIn = False,
    progress: Progress = ProgressKind.bar,
    **chosen: Any,
) -> None:
    """Paint a lesion: diseased scan, lesion, margin, two-colour difference, effects, overview and provenance."""
    with report_errors():
        random = chosen["random"] and chosen["random"].value
        _one_source(lesion, box, random)
        stray = [f"--{name}" for name in SHAPE if chosen[name] is not None]
        if stray and random is None:
            raise SettingsError(
                f"{', '.join(stray)} without --random.",
                "They shape a random lesion.",
                "Add --random stroke, say.",
            )
        condition = (chosen["condition"] and chosen["condition"].value) or ("box" if box else "mask")
        settings = made(InduceSettings, chosen, condition=condition)
        shape = made(ShapeSettings, chosen, kind=random) if random else None
        check_format(out, file_format, burn_in)
        if grow is not None and file_format is ResultFormat.dicom:
            raise SettingsError(
                "A growth series cannot be written as DICOM.", "It is one volume a size.", "Leave --format out."
            )
        from braindiffusion.lesions.models import choose_card
        from braindiffusion.lesions.registry import options_of

        options_of(settings, 1.875)
        choose_card(settings)
        from braindiffusion.io.read import read_scan

        labels = parse_labels(mask_label)
        volume, drawn, own_brain = read_drawn(read_scan(scan, series=series), lesion, box, labels, resample_mask, brain)
        keep_inputs(out, RESULTS, scan, lesion, brain)
        what = shape if shape is not None else drawn
        assert what is not None
        if grow is not None:
            grow_and_write(volume, what, settings, own_brain, grow, out, file_format, progress)
        else:
            induce_and_write(volume, what, settings, own_brain, out, file_format, progress, burn_in)
