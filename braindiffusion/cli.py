"""The command line. Nothing heavy is imported until a command runs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from braindiffusion import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY, __version__
from braindiffusion.errors import BrainDiffusionError, Cancelled, SettingsError

if TYPE_CHECKING:
    import numpy as np

    from braindiffusion.heal import HealResult, HealSettings
    from braindiffusion.scan import Scan

app = typer.Typer(
    help=f"Ask a brain scan 'what if?': remove the lesion and see what changed. {RESEARCH_USE_ONLY}",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
models_app = typer.Typer(help="Installed models: licences, facts, checks.", no_args_is_help=True)
evaluate_app = typer.Typer(help="Measure on a pack of slices with drawn lesions.", no_args_is_help=True)
app.add_typer(models_app, name="models")
app.add_typer(evaluate_app, name="evaluate")


class Fusion(str, Enum):
    joint, independent, cached = "joint", "independent", "cached"


class SaliencyMethod(str, Enum):
    acat, gradient = "acat", "gradient"


class MaskRule(str, Enum):
    percentile, grown = "percentile", "grown"


class Split(str, Enum):
    train, val, test, all = "train", "val", "test", "all"


class FileFormat(str, Enum):
    nifti, nrrd = "nifti", "nrrd"


class ProgressKind(str, Enum):
    bar, json, none = "bar", "json", "none"


ScanPath = Annotated[Path, typer.Argument(help="NIfTI, NRRD, a DICOM folder or one DICOM file.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results; made when missing.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:n.")]
Progress = Annotated[ProgressKind, typer.Option(help="How progress is told (on stderr).")]
SliceRange = Annotated[
    str | None, typer.Option("--slices", help="a:b, counted from the bottom of the head; b is not included.")
]
BrainFile = Annotated[Path | None, typer.Option("--brain", help="Your own brain mask, on the scan's grid.")]


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Turn an error into its message on stderr and its exit code."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(str(Cancelled()), err=True)
        raise typer.Exit(Cancelled.exit_code) from None
    except BrainDiffusionError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(error.exit_code) from None


def parse_steps(text: str) -> int | None:
    """``full`` or a positive number."""
    if text == "full":
        return None
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise SettingsError(
        f"--steps {text} is not possible.", "It is a positive number or 'full'.", "Give --steps 25, say."
    )


def parse_slices(text: str | None) -> tuple[int | None, int | None] | None:
    """``a:b`` with either end left out."""
    if text is None:
        return None
    try:
        first, last = text.split(":")
        return (int(first) if first else None), (int(last) if last else None)
    except ValueError as error:
        raise SettingsError(
            f"--slices {text} is not possible.", "It is a:b, such as 10:20.", "Give two numbers with a colon."
        ) from error


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


def write_result(folder: Path, scan: Scan, result: HealResult, file_format: FileFormat, title: str) -> None:
    """All files of a healing, together or not at all."""
    import numpy as np

    from braindiffusion.export.pictures import overview
    from braindiffusion.writing import OutputFolder

    maps: dict[str, np.ndarray | None] = {
        "counterfactual": result.counterfactual,
        "anomaly": result.anomaly.astype(np.float32),
        "lesion": result.lesion.astype(np.uint8),
        "mask": result.mask.astype(np.uint8),
        "saliency": result.saliency.astype(np.float32),
        "deviation": result.deviation,
        "agreement": result.agreement,
    }
    with OutputFolder(folder) as out:
        for name, voxels in maps.items():
            if voxels is not None:
                out.volume(
                    name, voxels, scan, file_format=file_format.value, description=f"{NOT_FOR_DIAGNOSIS}: {name}"
                )
        overview(scan, result, out.file("overview.png"), title)
        out.json("provenance", result.provenance)


def heal_and_write(
    scan: Scan, settings: HealSettings, mask: np.ndarray | None, brain: np.ndarray | None,
    out: Path, file_format: FileFormat, progress: ProgressKind,
) -> HealResult:  # fmt: skip
    """Check that the output can be written, heal, write, and say what came out."""
    from braindiffusion.heal import heal_scan
    from braindiffusion.progress import reporter
    from braindiffusion.writing import check_writable, free_space_check

    check_writable(out)
    free_space_check(out, 6 * scan.voxels.nbytes + (4 << 20))
    with reporter(progress.value) as tell:
        result = heal_scan(scan, settings, mask=mask, brain=brain, on_event=tell)
    facts = result.provenance
    write_result(out, scan, result, file_format, f"{settings.method}, {settings.fusion}, {facts['models'][0]['name']}")
    for warning in result.warnings:
        typer.echo(f"Warning: {warning}", err=True)
    calls, healed = facts["network_calls"], facts["network_calls"]["slices_healed"]
    each = f"{calls['per_slice'] / healed:.0f} network calls each" if healed else "no network calls"
    typer.echo(
        f"{healed} of {len(result.slices)} slices healed, {each}; "
        f"lesion {facts['lesion_ml']:.1f} mL; {facts['seconds']:.0f} s"
    )
    typer.echo(f"{out / 'overview.png'}\n{RESEARCH_USE_ONLY}")
    return result


@app.command()
def demo(
    out: Out = Path("demo"),
    device: Device = "auto",
    progress: Progress = ProgressKind.bar,
) -> None:
    """Heal the shipped sample scan (synthetic) and leave the pictures in DEMO."""
    with told():
        from braindiffusion.heal import HealSettings
        from braindiffusion.models.registry import resource
        from braindiffusion.reading import read_scan

        scan = read_scan(resource("Samples", "SYNTHETIC_FLAIR_lesion.nii.gz"))
        heal_and_write(scan, HealSettings(device=device), None, None, out, FileFormat.nifti, progress)


@app.command()
def heal(
    scan: ScanPath,
    out: Out,
    mask: Annotated[Path | None, typer.Option(help="Heal inside this drawn mask (on the scan's grid).")] = None,
    box: Annotated[
        str | None, typer.Option(help="Heal inside i0,j0,k0,i1,j1,k1 (voxels as stored, ends included).")
    ] = None,
    saliency: Annotated[SaliencyMethod | None, typer.Option(help="Where the mask comes from.  [default: acat]")] = None,
    method: Annotated[str, typer.Option(help="Healing method.")] = "dif_fuse",
    fusion: Annotated[
        Fusion, typer.Option(help="joint: the paper; independent: the published code; cached: outside exact.")
    ] = Fusion.cached,
    model: Annotated[str, typer.Option(help="Healthy model; see: braindiffusion models list.")] = "flair-healthy-128",
    steps: Annotated[str, typer.Option(help="Steps each way, or 'full'.")] = "25",
    noise_level: Annotated[int, typer.Option(min=0, max=998, help="K, how far the scan is noised.")] = 500,
    percentile: Annotated[
        float | None,
        typer.Option(
            min=0, max=100, help="Saliency above it, over a slice's brain, is healed.  [default: the card's, or 90]"
        ),
    ] = None,
    mask_rule: Annotated[
        MaskRule | None,
        typer.Option(help="percentile: the paper; grown: to the whole lesion.  [default: grown for FLAIR models]"),
    ] = None,
    margin_mm: Annotated[
        float | None, typer.Option(help="Widen the mask.  [default: 2 for drawn masks and boxes, else the card's]")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, max=64, help="Independent draws; more than one adds deviation and agreement maps.")
    ] = 1,
    slices: SliceRange = None,
    brain: BrainFile = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Device = "auto",
    file_format: Annotated[FileFormat, typer.Option("--format")] = FileFormat.nifti,
    progress: Progress = ProgressKind.bar,
    force: Annotated[bool, typer.Option("--force", help="Run even when the modality is not the model's.")] = False,
) -> None:
    """Remove the lesion: healthy counterfactual, anomaly map, lesion map, overview and provenance."""
    with told():
        given = [
            name for name, value in (("--mask", mask), ("--box", box), ("--saliency", saliency)) if value is not None
        ]
        if len(given) > 1:
            raise SettingsError(
                f"{' and '.join(given)} exclude each other.",
                "Each says where the mask comes from.",
                "Give one of them.",
            )
        step_count, slice_range = parse_steps(steps), parse_slices(slices)
        from braindiffusion.models.registry import read_card
        from braindiffusion.reading import parse_box, read_mask, read_scan

        read_card(model)
        volume = read_scan(scan)
        drawn = read_mask(mask, volume) if mask else parse_box(box, volume) if box else None
        own_brain = read_mask(brain, volume) if brain else None
        from braindiffusion.heal import HealSettings

        settings = HealSettings(
            method=method, model=model, saliency=saliency.value if saliency else "acat", fusion=fusion.value,
            noise_level=noise_level, steps=step_count, percentile=percentile,
            mask_rule=mask_rule.value if mask_rule else None, margin_mm=margin_mm, samples=samples,
            slices=slice_range, seed=seed, device=device, force=force,
        )  # fmt: skip
        heal_and_write(volume, settings, drawn, own_brain, out, file_format, progress)


@app.command("saliency")
def saliency_command(
    scan: ScanPath,
    out: Out,
    method: Annotated[SaliencyMethod, typer.Option()] = SaliencyMethod.acat,
    slices: SliceRange = None,
    brain: BrainFile = None,
    device: Device = "auto",
    file_format: Annotated[FileFormat, typer.Option("--format")] = FileFormat.nifti,
    progress: Progress = ProgressKind.bar,
    force: Annotated[bool, typer.Option("--force")] = False,
) -> None:
    """Where the classifier looks: a saliency map and the lesion probability of each slice."""
    with told():
        slice_range = parse_slices(slices)
        from braindiffusion.export.pictures import saliency_picture
        from braindiffusion.reading import read_mask, read_scan
        from braindiffusion.writing import OutputFolder, check_writable

        volume = read_scan(scan)
        own_brain = read_mask(brain, volume) if brain else None
        check_writable(out)
        from braindiffusion.heal import HealSettings, saliency_scan
        from braindiffusion.progress import reporter

        settings = HealSettings(saliency=method.value, slices=slice_range, device=device, force=force)
        with reporter(progress.value) as tell:
            found = saliency_scan(volume, settings, brain=own_brain, on_event=tell)
        with OutputFolder(out) as folder:
            folder.volume(
                "saliency",
                found.saliency,
                volume,
                file_format=file_format.value,
                description=f"{NOT_FOR_DIAGNOSIS}: saliency",
            )
            saliency_picture(volume, found, folder.file("overview.png"))
            folder.json("provenance", found.provenance)
        for warning in found.warnings:
            typer.echo(f"Warning: {warning}", err=True)
        flagged = sum(row["judged_lesion"] for row in found.slices)
        typer.echo(
            f"{flagged} of {len(found.slices)} slices judged to show a lesion\n"
            f"{out / 'overview.png'}\n{RESEARCH_USE_ONLY}"
        )


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or a .json file.")],
    data: Annotated[Path, typer.Option(help="Folder of packs and volumes.")],
    out: Out,
    budget: Annotated[str | None, typer.Option(help="Stop cleanly after 90s, 30m, 2h ...")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint in OUT.")] = False,
    iterations: Annotated[int | None, typer.Option(min=1, help="Override the recipe's.")] = None,
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    report_every: Annotated[str, typer.Option(help="Time between validation, figures and checkpoints.")] = "4m",
) -> None:
    """Train a model from a recipe; the best EMA weights and their card are left in OUT."""
    with told():
        import json

        from braindiffusion.training.loop import load_recipe
        from braindiffusion.training.loop import train as run

        records = run(
            load_recipe(recipe), data, out, budget_s=parse_budget(budget), resume=resume, iterations=iterations,
            device=device, threads=threads, report_every_s=parse_budget(report_every) or 240.0,
        )  # fmt: skip
        for record in records:
            typer.echo(json.dumps(record))


@evaluate_app.command("healing")
def evaluate_healing(
    data: Annotated[Path, typer.Option(help="PACK.npz; the format is in docs/packs.md.")],
    split: Annotated[Split, typer.Option()],
    out: Out,
    methods: Annotated[str, typer.Option(help="Comma-separated; floors are always included.")] = "dif_fuse,saliency",
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many slices, spread over patients.")] = None,
    model: Annotated[str, typer.Option()] = "flair-healthy-128",
    steps: Annotated[str, typer.Option()] = "25",
    fusion: Annotated[Fusion, typer.Option()] = Fusion.cached,
    percentile: Annotated[float | None, typer.Option(min=0, max=100)] = None,
    mask_rule: Annotated[MaskRule | None, typer.Option()] = None,
    saliency: Annotated[SaliencyMethod, typer.Option()] = SaliencyMethod.acat,
    lesion_slices_only: Annotated[
        bool, typer.Option("--lesion-slices-only", help="Skip lesion-free slices (no false alarms measured).")
    ] = False,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Device = "auto",
    progress: Progress = ProgressKind.bar,
) -> None:
    """Overlap with drawn lesions beside the floors, false alarms, identity, cost."""
    with told():
        step_count = parse_steps(steps)
        from braindiffusion.evaluation.healing import evaluate
        from braindiffusion.heal import HealSettings
        from braindiffusion.progress import reporter
        from braindiffusion.training.packs import load_pack
        from braindiffusion.writing import OutputFolder, check_writable

        pack = load_pack(data)
        check_writable(out)
        settings = HealSettings(
            model=model, steps=step_count, fusion=fusion.value, percentile=percentile,
            mask_rule=mask_rule.value if mask_rule else None, saliency=saliency.value, seed=seed,
            device=device, force=True,
        )  # fmt: skip
        with reporter(progress.value) as tell:
            report = evaluate(
                pack, split.value, settings, [m.strip() for m in methods.split(",") if m.strip()],
                limit=limit, lesion_slices_only=lesion_slices_only, on_event=tell,
            )  # fmt: skip
        with OutputFolder(out) as folder:
            folder.json("report", report.facts)
            folder.file("table.md").write_text(report.markdown, encoding="utf-8")
            report.write_slices(folder.file("slices.csv"))
            report.picture(folder.file("overview.png"))
        typer.echo(report.markdown)


@evaluate_app.command("tune")
def evaluate_tune(
    data: Annotated[Path, typer.Option(help="PACK.npz with a val split.")],
    out: Out,
    model: Annotated[str, typer.Option()] = "flair-healthy-128",
    steps: Annotated[str, typer.Option()] = "25",
    saliency: Annotated[SaliencyMethod, typer.Option()] = SaliencyMethod.acat,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many lesion slices.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Keep the result in the model's card.")] = False,
    device: Device = "auto",
    progress: Progress = ProgressKind.bar,
) -> None:
    """Choose mask and threshold on the val split; nothing else is looked at."""
    with told():
        step_count = parse_steps(steps)
        import csv
        import json

        from braindiffusion.evaluation.tuning import tune
        from braindiffusion.heal import HealSettings
        from braindiffusion.models.registry import update_card
        from braindiffusion.progress import reporter
        from braindiffusion.training.packs import load_pack
        from braindiffusion.writing import OutputFolder, check_writable

        pack = load_pack(data)
        check_writable(out)
        settings = HealSettings(model=model, steps=step_count, saliency=saliency.value, device=device, force=True)
        with reporter(progress.value) as tell:
            point, rows = tune(pack, settings, limit, tell)
        with OutputFolder(out) as folder:
            with folder.file("sweep.csv").open("w", newline="") as handle:
                writer = csv.DictWriter(handle, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            folder.json("operating_point", point)
        if write:
            update_card(model, {"operating_point": point})
        typer.echo(json.dumps(point, indent=2))


@models_app.command("list")
def models_list() -> None:
    """Installed models with modality and licence."""
    with told():
        from rich.console import Console
        from rich.table import Table

        from braindiffusion.models.registry import installed, read_card

        table = Table("name", "for", "modality", "licence", "size")
        for name in installed():
            card = read_card(name)
            table.add_row(
                name, str(card.get("purpose", card.get("task", ""))), ", ".join(card.get("modality", [])),
                str(card.get("licence", "?")), f"{card.get('bytes', 0) / 1e6:.1f} MB",
            )  # fmt: skip
        Console(width=140 if not sys.stdout.isatty() else None).print(table)
        typer.echo(RESEARCH_USE_ONLY)


@models_app.command("info")
def models_info(name: str) -> None:
    """The whole card of a model."""
    with told():
        import json

        from braindiffusion.models.registry import read_card

        typer.echo(json.dumps(read_card(name), indent=2))


@models_app.command("verify")
def models_verify(name: Annotated[str | None, typer.Argument()] = None) -> None:
    """Check the weights of one model, or of all, against their cards."""
    with told():
        from braindiffusion.models.registry import installed, verify

        for each in [name] if name else list(installed()):
            verify(each)
            typer.echo(f"{each}: ok")


@models_app.command("add")
def models_add(file: Annotated[Path, typer.Argument(help="A .json card with its .safetensors beside it.")]) -> None:
    """Install your own model for this user."""
    with told():
        from braindiffusion.models.registry import add

        typer.echo(f"Installed {add(file)}")


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
