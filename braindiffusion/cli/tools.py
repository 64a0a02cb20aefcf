"""The command line for those who make and measure models: train, models, evaluate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from braindiffusion import RESEARCH_USE_ONLY
from braindiffusion.cli.options import (
    Commands,
    Device,
    Out,
    Progress,
    ProgressKind,
    parse_budget,
    report_errors,
)
from braindiffusion.cli.settings import made, settings_options
from braindiffusion.io.paths import at_home
from braindiffusion.settings import HealSettings

models_app = Commands(help="Installed models: licences, facts, checks.", no_args_is_help=True)
evaluate_app = Commands(help="Measure on a pack of slices with drawn lesions.", no_args_is_help=True)


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
    with report_errors():
        import json
        import os

        from braindiffusion.training.loop import load_recipe
        from braindiffusion.training.loop import train as run

        records = run(
            load_recipe(str(at_home(recipe))), data, out, budget_s=parse_budget(budget), resume=resume,
            iterations=iterations, device=device, threads=threads, report_every_s=parse_budget(report_every) or 240.0,
        )  # fmt: skip
        for record in records:
            if os.environ.get("RANK", "0") == "0":  # of torchrun's processes one speaks
                typer.echo(json.dumps(record))


@evaluate_app.command("tune")
@settings_options(HealSettings, only=("steps", "saliency", "device"))
def evaluate_tune(
    data: Annotated[Path, typer.Option(help="PACK.npz with a val split.")],
    out: Out,
    model: Annotated[str, typer.Option()] = "flair-healthy-128",
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many lesion slices.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Keep the result in the model's card.")] = False,
    progress: Progress = ProgressKind.bar,
    **chosen: Any,
) -> None:
    """Choose what a model's card says of its use (mask rule, threshold, least area ...), on the val split only."""
    with report_errors():
        settings = made(HealSettings, chosen, model=model, force=True)
        import json

        from braindiffusion.evaluation.result_cache import ResultCache
        from braindiffusion.evaluation.tuning import keep, tune
        from braindiffusion.io.tables import write_csv_file
        from braindiffusion.io.write import OutputFolder, check_writable
        from braindiffusion.pipeline.progress import reporter
        from braindiffusion.training.packs import load_pack

        pack = load_pack(data)
        check_writable(out)
        with reporter(progress.value) as tell:
            use, point, rows = tune(pack, settings, ResultCache(out / "runs"), limit, tell)
        with OutputFolder(out) as folder:
            write_csv_file(folder.file("sweep.csv"), rows)
            folder.json("operating_point", point)
        if write:
            keep(model, use, point)
        typer.echo(json.dumps(point, indent=2))


@models_app.command("list")
def models_list() -> None:
    """Installed models with modality and licence."""
    with report_errors():
        from rich.console import Console
        from rich.table import Table

        from braindiffusion.cards import installed, read_card
        from braindiffusion.errors import ModelFormatError

        table = Table("name", "for", "modality", "licence", "size")
        for name in installed():
            try:
                card = read_card(name)
            except ModelFormatError as error:  # the others are of use all the same
                table.add_row(name, error.why, "", "", "cannot be read")
                continue
            table.add_row(
                name, str(card.get("purpose", card.get("task", ""))), ", ".join(card.get("modality", [])),
                str(card.get("licence", "?")), f"{card.get('bytes', 0) / 1e6:.1f} MB",
            )  # fmt: skip
        Console(width=140 if not sys.stdout.isatty() else None).print(table)
        typer.echo(RESEARCH_USE_ONLY)


@models_app.command("methods")
def models_methods() -> None:
    """Healing methods, the models each needs, and whether they are installed."""
    with report_errors():
        from rich.console import Console
        from rich.table import Table

        from braindiffusion.healing.models import describe_methods

        table = Table("method", "what it does", "mask", "models", "ready")
        for method in describe_methods():
            table.add_row(
                method["name"], f"{method['label']}. {method['about']}", "yes" if method["masked"] else "no",
                "\n".join(need["recipe"] for need in method["needs"]),
                "yes" if method["available"] else f"no: {method['why']}",
            )  # fmt: skip
        Console(width=140 if not sys.stdout.isatty() else None).print(table)


@models_app.command("info")
def models_info(name: str) -> None:
    """The whole card of a model."""
    with report_errors():
        import json

        from braindiffusion.cards import read_card

        typer.echo(json.dumps(read_card(name), indent=2))


@models_app.command("verify")
def models_verify(name: Annotated[str | None, typer.Argument()] = None) -> None:
    """Check the weights of one model, or of all, against their cards."""
    with report_errors():
        from braindiffusion.cards import installed
        from braindiffusion.models.registry import verify

        for each in [name] if name else list(installed()):
            verify(each)
            typer.echo(f"{each}: ok")


@models_app.command("add")
def models_add(file: Annotated[Path, typer.Argument(help="A .json card with its .safetensors beside it.")]) -> None:
    """Install your own model for this user."""
    with report_errors():
        from braindiffusion.models.registry import add

        typer.echo(f"Installed {add(file)}")
