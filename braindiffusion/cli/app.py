"""The command line: demo, heal, saliency. Nothing heavy is imported until a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from braindiffusion import RESEARCH_USE_ONLY, __version__
from braindiffusion.cli.bench import bench
from braindiffusion.cli.check import check, series_command
from braindiffusion.cli.cohort import cohort_app
from braindiffusion.cli.evaluate import (
    evaluate_believable,
    evaluate_healing,
    evaluate_induction,
    evaluate_models,
    evaluate_nnunet,
    evaluate_tissue,
)
from braindiffusion.cli.export import deidentify, teach_app
from braindiffusion.cli.induce import induce
from braindiffusion.cli.options import (
    BrainFile,
    BurnIn,
    Commands,
    Device,
    FileFormat,
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
from braindiffusion.cli.prepare import prepare, pseudo_label
from braindiffusion.cli.read import read
from braindiffusion.cli.settings import made, settings_options
from braindiffusion.cli.shortcut import install_shortcut
from braindiffusion.cli.study import study_app
from braindiffusion.cli.tools import evaluate_app, models_app, train
from braindiffusion.cli.view import view
from braindiffusion.errors import SettingsError
from braindiffusion.settings import HealSettings

if TYPE_CHECKING:
    import numpy as np

    from braindiffusion.pipeline.heal import HealResult
    from braindiffusion.settings import HealSettings
    from braindiffusion.volume.scan import Scan

RESULTS = {
    "counterfactual", "anomaly", "lesion", "mask", "edited", "saliency", "deviation", "agreement", "displaced",
    "displacement_mm", "displaced_outline",
}  # fmt: skip

app = Commands(
    help=f"Ask a brain scan 'what if?': remove the lesion and see what changed. {RESEARCH_USE_ONLY}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(models_app, name="models")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(cohort_app, name="cohort")
app.add_typer(study_app, name="study")
app.add_typer(teach_app, name="teach")
app.command()(train)
app.command()(induce)
app.command()(prepare)
app.command("pseudo-label")(pseudo_label)
evaluate_app.command("healing")(evaluate_healing)
evaluate_app.command("models")(evaluate_models)
evaluate_app.command("induction")(evaluate_induction)
evaluate_app.command("nnunet")(evaluate_nnunet)
evaluate_app.command("tissue")(evaluate_tissue)
evaluate_app.command("believable")(evaluate_believable)
app.command()(deidentify)
app.command()(check)
app.command("series")(series_command)
app.command()(view)
app.command("install-shortcut")(install_shortcut)
app.command()(read)
app.command()(bench)


def heal_and_write(
    scan: Scan, settings: HealSettings, mask: np.ndarray | None, brain: np.ndarray | None,
    out: Path, file_format: ResultFormat, progress: ProgressKind, burn_in: bool = False,
) -> HealResult:  # fmt: skip
    """Check that the output can be written, heal, write, and say what came out."""
    from braindiffusion.io.write import check_writable, free_space_check
    from braindiffusion.pipeline.heal import heal_scan
    from braindiffusion.pipeline.progress import reporter

    check_writable(out)
    free_space_check(out, 7 * scan.voxels.nbytes + (4 << 20))
    with reporter(progress.value) as tell:
        result = heal_scan(scan, settings, mask=mask, brain=brain, on_event=tell)
    facts = result.provenance
    result.save(out, file_format.value, burn_in)
    for warning in result.warnings:
        typer.echo(f"Warning: {warning}", err=True)
    calls, healed = facts["network_calls"], facts["network_calls"]["slices_healed"]
    each = f"{calls['per_slice'] / healed:.0f} network calls each" if healed else "no network calls"
    typer.echo(
        f"{healed} of {len(result.slices)} slices healed, {each}; "
        f"lesion {facts['lesion_ml']:.1f} mL; {facts['seconds']:.0f} s"
    )
    if result.mass_effect is not None:
        from braindiffusion.lesions.mass_effect import in_words

        typer.echo(in_words(result.mass_effect.figures))
    typer.echo(f"{out / 'overview.png'}\n{RESEARCH_USE_ONLY}")
    return result


@app.command()
def demo(
    out: Out = Path("demo"),
    device: Device = "auto",
    progress: Progress = ProgressKind.bar,
) -> None:
    """Heal the shipped sample scan (synthetic) and leave the pictures in DEMO."""
    with report_errors():
        from braindiffusion.cards import resource
        from braindiffusion.io.read import read_scan

        scan = read_scan(resource("Samples", "SYNTHETIC_FLAIR_lesion.nii.gz"))
        heal_and_write(scan, HealSettings(device=device), None, None, out, ResultFormat.nifti, progress)


# long: each option is a parameter
@app.command()
@settings_options(HealSettings, defaults={"saliency": None})
def heal(
    scan: ScanPath,
    out: Out,
    mask: Annotated[Path | None, typer.Option(help="Heal inside this drawn mask (on the scan's grid).")] = None,
    box: Annotated[
        str | None, typer.Option(help="Heal inside i0,j0,k0,i1,j1,k1 (voxels as stored, ends included).")
    ] = None,
    series: SeriesChoice = None,
    mask_label: MaskLabel = None,
    resample_mask: ResampleMask = False,
    brain: BrainFile = None,
    file_format: Format = ResultFormat.nifti,
    burn_in: BurnIn = False,
    progress: Progress = ProgressKind.bar,
    **chosen: Any,
) -> None:
    """Remove the lesion: healthy counterfactual, anomaly map, lesion map, overview and provenance."""
    with report_errors():
        sources = {"--mask": mask, "--box": box, "--saliency": chosen["saliency"]}
        given = [name for name, value in sources.items() if value is not None]
        if len(given) > 1:
            raise SettingsError(
                f"{' and '.join(given)} exclude each other.",
                "Each says where the mask comes from.",
                "Give one of them.",
            )
        settings = made(HealSettings, chosen, saliency=chosen["saliency"] or HealSettings.saliency)
        check_format(out, file_format, burn_in)
        from braindiffusion.healing.models import main_card
        from braindiffusion.io.read import read_scan

        main_card(settings)
        labels = parse_labels(mask_label)
        volume, drawn, own_brain = read_drawn(read_scan(scan, series=series), mask, box, labels, resample_mask, brain)
        keep_inputs(out, RESULTS, scan, mask, brain)
        heal_and_write(volume, settings, drawn, own_brain, out, file_format, progress, burn_in)


@app.command("saliency")
@settings_options(
    HealSettings, only=("saliency", "slices", "device", "precision", "batch", "gate", "force"),
    rename={"saliency": "method"},
)  # fmt: skip
def saliency_command(
    scan: ScanPath,
    out: Out,
    series: SeriesChoice = None,
    brain: BrainFile = None,
    file_format: Annotated[FileFormat, typer.Option("--format")] = FileFormat.nifti,
    progress: Progress = ProgressKind.bar,
    **chosen: Any,
) -> None:
    """Find the lesion: a saliency map and the lesion probability of each slice."""
    with report_errors():
        settings = made(HealSettings, chosen, saliency=chosen["method"])
        from braindiffusion.io.read import read_scan
        from braindiffusion.io.write import check_writable

        volume, _, own_brain = read_drawn(read_scan(scan, series=series), None, None, None, False, brain)
        keep_inputs(out, {"saliency", "overview", "provenance"}, scan, brain)
        check_writable(out)
        from braindiffusion.pipeline.progress import reporter
        from braindiffusion.pipeline.saliency import saliency_scan

        with reporter(progress.value) as tell:
            found = saliency_scan(volume, settings, brain=own_brain, on_event=tell)
        found.save(out, file_format.value)
        for warning in found.warnings:
            typer.echo(f"Warning: {warning}", err=True)
        flagged = sum(row["judged_lesion"] for row in found.slices)
        typer.echo(
            f"{flagged} of {len(found.slices)} slices judged to show a lesion\n"
            f"{out / 'overview.png'}\n{RESEARCH_USE_ONLY}"
        )


def _version(value: bool) -> Any:
    if value:
        typer.echo(f"braindiffusion {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Ask a brain scan 'what if?'. Research use only; never diagnosis."""
