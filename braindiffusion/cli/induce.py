"""The command that induces a lesion."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braindiffusion import RESEARCH_USE_ONLY
from braindiffusion.cli.options import (
    BrainFile,
    BurnIn,
    Device,
    Format,
    MaskLabel,
    Out,
    Progress,
    ProgressKind,
    ResampleMask,
    ResultFormat,
    ScanPath,
    SliceRange,
    check_format,
    keep_inputs,
    parse_labels,
    parse_slices,
    parse_steps,
    read_drawn,
    told,
)
from braindiffusion.errors import SettingsError

if TYPE_CHECKING:
    import numpy as np

    from braindiffusion.pipeline.induce import InduceResult
    from braindiffusion.settings import InduceSettings, ShapeSettings
    from braindiffusion.volume.scan import Scan

RESULTS = {"diseased", "lesion", "generate_mask", "difference", "deviation"}


class LesionKind(str, Enum):
    stroke, tumour = "stroke", "tumour"


class RandomKind(str, Enum):
    stroke, tumour, spots = "stroke", "tumour", "spots"


class InduceMethod(str, Enum):
    mededit, mededit_paired, naive_repaint = "mededit", "mededit_paired", "naive_repaint"
    sdedit, palette = "sdedit", "palette"


class Side(str, Enum):
    L, R = "L", "R"


class Lobe(str, Enum):
    frontal, parietal, temporal, occipital = "frontal", "parietal", "temporal", "occipital"


class Territory(str, Enum):
    MCA, ACA, PCA = "MCA", "ACA", "PCA"


class ToldAs(str, Enum):
    mask, box = "mask", "box"


def induce_and_write(
    scan: Scan, lesion: np.ndarray | ShapeSettings, settings: InduceSettings, brain: np.ndarray | None,
    out: Path, file_format: ResultFormat, progress: ProgressKind, burn_in: bool = False,
) -> InduceResult:  # fmt: skip
    """Check that the output can be written, induce, write, and say what came out."""
    from braindiffusion.io.write import check_writable, free_space_check
    from braindiffusion.pipeline.induce import induce_scan
    from braindiffusion.pipeline.progress import reporter

    check_writable(out)
    free_space_check(out, 5 * scan.voxels.nbytes + (4 << 20))
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
    typer.echo(f"{out / 'overview.png'}\n{RESEARCH_USE_ONLY}")
    return result


def _one_source(lesion: Path | None, box: str | None, random: RandomKind | None) -> None:
    given = [name for name, v in (("--lesion", lesion), ("--box", box), ("--random", random)) if v is not None]
    if len(given) != 1:
        raise SettingsError(
            f"{' and '.join(given)} exclude each other." if given else "There is no lesion to induce.",
            "Each says where the lesion is to lie." if given else "None of --lesion, --box and --random was given.",
            "Give one of them.",
        )


def induce(
    scan: ScanPath,
    out: Out,
    kind: Annotated[LesionKind, typer.Option(help="What to paint.", show_default=False)],
    lesion: Annotated[Path | None, typer.Option(help="The lesion's mask (on the scan's grid).")] = None,
    box: Annotated[
        str | None, typer.Option(help="A lesion somewhere in i0,j0,k0,i1,j1,k1 (voxels as stored, ends included).")
    ] = None,
    mask_label: MaskLabel = None,
    resample_mask: ResampleMask = False,
    random: Annotated[RandomKind | None, typer.Option(help="Make a shape; see --ml, --side, --lobe.")] = None,
    ml: Annotated[float | None, typer.Option("--ml", help="Volume of the shape made.  [default: drawn]")] = None,
    side: Annotated[Side | None, typer.Option(help="Of the patient.  [default: drawn]")] = None,
    lobe: Annotated[Lobe | None, typer.Option(help="Where the shape lies.  [default: drawn]")] = None,
    territory: Annotated[Territory | None, typer.Option(help="Artery of a random stroke.  [default: drawn]")] = None,
    method: Annotated[InduceMethod, typer.Option(help="Induction method.")] = InduceMethod.mededit_paired,
    model: Annotated[str | None, typer.Option(help="Lesion model.  [default: the one that fits the method]")] = None,
    condition: Annotated[
        ToldAs | None, typer.Option(help="What the network is told.  [default: box for --box, else mask]")
    ] = None,
    steps: Annotated[str, typer.Option(help="Steps down, or 'full' (3,997 network calls a slice and run).")] = "15",
    resamples: Annotated[int | None, typer.Option(min=1, max=100, help="U, how often each step is taken.")] = None,
    margin_mm: Annotated[
        float | None, typer.Option(help="How far around the lesion may change.  [default: 22.5; boxes 18.75]")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Above 1: a stronger lesion, at twice the calls.  [default: the card's, or 1]")
    ] = None,
    harmonise: Annotated[
        int | None, typer.Option(min=0, max=100, help="Passes over the seam.  [default: the card's, or 0]")
    ] = None,
    keep_outline: Annotated[bool, typer.Option(help="Hold the brain's border to be tissue (not in the paper).")] = True,
    samples: Annotated[
        int, typer.Option(min=1, max=64, help="Independent draws; more than one adds a deviation map.")
    ] = 1,
    slices: SliceRange = None,
    brain: BrainFile = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Device = "auto",
    file_format: Format = ResultFormat.nifti,
    burn_in: BurnIn = False,
    progress: Progress = ProgressKind.bar,
    force: Annotated[bool, typer.Option("--force", help="Run even when the modality is not the model's.")] = False,
) -> None:
    """Paint a lesion: diseased scan, lesion, margin, two-colour difference, effects, overview and provenance."""
    with told():
        _one_source(lesion, box, random)
        shape_options = {"--ml": ml, "--side": side, "--lobe": lobe, "--territory": territory}
        stray = [name for name, value in shape_options.items() if value is not None]
        if stray and random is None:
            raise SettingsError(
                f"{', '.join(stray)} without --random.",
                "They shape a lesion that is made.",
                "Add --random stroke, say.",
            )
        step_count, slice_range = parse_steps(steps), parse_slices(slices)
        check_format(out, file_format, burn_in)
        from braindiffusion.lesions.models import choose_card
        from braindiffusion.lesions.registry import options_of
        from braindiffusion.settings import InduceSettings, ShapeSettings

        settings = InduceSettings(
            method=method.value, kind=kind.value, model=model,
            condition=condition.value if condition else "box" if box else "mask",
            steps=step_count, resamples=resamples, margin_mm=margin_mm, guidance=guidance, harmonise=harmonise,
            keep_outline=keep_outline, samples=samples, slices=slice_range, seed=seed, device=device, force=force,
        )  # fmt: skip
        made = (
            ShapeSettings(
                random.value, ml, side.value if side else None, lobe.value if lobe else None,
                territory.value if territory else None,
            )
            if random
            else None
        )  # fmt: skip
        options_of(settings, 1.875)
        choose_card(settings)
        from braindiffusion.io.read import read_scan

        labels = parse_labels(mask_label)
        volume, drawn, own_brain = read_drawn(read_scan(scan), lesion, box, labels, resample_mask, brain)
        keep_inputs(out, RESULTS, scan, lesion, brain)
        what = made if made is not None else drawn
        assert what is not None
        induce_and_write(volume, what, settings, own_brain, out, file_format, progress, burn_in)
