"""The commands that give scans away: de-identified copies, teaching files."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from braindiffusion import RESEARCH_USE_ONLY
from braindiffusion.cli.options import BrainFile, Commands, Device, Out, report_errors


class FaceRule(str, Enum):
    remove, blur, keep = "remove", "blur", "keep"


Face = Annotated[FaceRule, typer.Option(help="What lies more than 12 mm from the brain: remove, blur, or keep it.")]


def deidentify(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A scan, or a folder of scans.", show_default=False)],
    out: Out,
    face: Face = FaceRule.remove,
    brain: BrainFile = None,
    key: Annotated[Path | None, typer.Option(help="Write case and scan to this CSV file, outside OUT.")] = None,
    device: Device = "auto",
) -> None:
    """Copy scans without what identifies the patient; doubtful scans are held back, with the reason."""
    with report_errors():
        from random import SystemRandom

        from braindiffusion.errors import QuarantineError, SettingsError
        from braindiffusion.export.deidentify_cases import QUARANTINE, deidentify, find_cases
        from braindiffusion.io.read import read_mask, read_scan
        from braindiffusion.models.device import choose_device

        cases, _ = find_cases(source)
        own_brain = None
        if brain is not None:
            if len(cases) > 1:
                raise SettingsError("--brain is for one scan.", f"{len(cases)} are given.", "Copy them one by one.")
            own_brain = read_mask(brain, read_scan(cases[0].path, list(cases[0].files or ()) or None))
        outcomes, others = deidentify(
            source, out, face=face.value, brain=own_brain, device=str(choose_device(device)), key=key,
            order=SystemRandom(),
            on_case=lambda done, total: typer.echo(f"case {done + 1} of {total}", err=True),
        )  # fmt: skip
        held = [outcome for outcome in outcomes if outcome.reason]
        for outcome in held:
            typer.echo(f"Held back: {outcome.code}: {outcome.reason}", err=True)
        if len(held) == len(outcomes):
            raise QuarantineError("Nothing was copied.", str(held[0].reason), f"See {QUARANTINE} in OUT.")
        if others:
            typer.echo(f"{others} other files were not copied: only scans and their JSON sidecars are.", err=True)
        typer.echo(f"{len(outcomes) - len(held)} copied, {len(held)} held back\n{out}\n{RESEARCH_USE_ONLY}")


class _CaseByDefault(TyperGroup):
    """``teach DIR`` is ``teach case DIR``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["case", *args]
        return super().parse_args(ctx, args)


teach_app = Commands(
    cls=_CaseByDefault, no_args_is_help=True, help="Teaching files: teach RESULT_DIR --scan SCAN --out DIR --title ..."
)


# long: each option is a parameter
@teach_app.command("case")
def teach_case(
    result: Annotated[Path, typer.Argument(metavar="RESULT_DIR", help="What heal or induce wrote.")],
    scan: Annotated[Path, typer.Option(help="The scan it was made from.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the teaching file.", show_default=False)],
    title: Annotated[str, typer.Option(show_default=False)],
    history: Annotated[str, typer.Option()] = "",
    findings: Annotated[str, typer.Option()] = "",
    diagnosis: Annotated[str, typer.Option()] = "",
    discussion: Annotated[str, typer.Option()] = "",
    question: Annotated[str, typer.Option(help="Of the quiz.")] = "",
    choice: Annotated[list[str] | None, typer.Option(help="An answer to choose from; give several.")] = None,
    answer: Annotated[int | None, typer.Option(min=1, help="The right choice, counted from 1.")] = None,
    unknown: Annotated[bool, typer.Option("--unknown", help="Open it as an unknown case.")] = False,
    face: Face = FaceRule.remove,
    brain: BrainFile = None,
    device: Device = "auto",
) -> None:
    """A folder with one page that opens anywhere, volumes and DICOM; without what identifies the patient."""
    with report_errors():
        from braindiffusion.export.teaching.case import Texts, check_free, write_case
        from braindiffusion.export.teaching.result import pair_of
        from braindiffusion.io.read import read_mask, read_scan
        from braindiffusion.io.write import check_writable, free_space_check
        from braindiffusion.models.device import choose_device

        texts = Texts(
            title, history, findings, diagnosis, discussion, question, tuple(choice or ()), answer, unknown=unknown
        )
        check_free(out)
        check_writable(out)
        own_brain = read_mask(brain, read_scan(scan)) if brain else None
        free_space_check(out, 1 << 26)  # twice two volumes, compressed or not, of a usual head
        pair = pair_of(result, scan, face=face.value, brain=own_brain, device=str(choose_device(device)))
        write_case(out, pair, texts)
        typer.echo(f"{out / 'index.html'}\n{RESEARCH_USE_ONLY}")


@teach_app.command("index")
def teach_index(
    collection: Annotated[Path, typer.Argument(metavar="COLLECTION", help="A folder of teaching files.")],
    title: Annotated[str, typer.Option()] = "Teaching files",
) -> None:
    """The page that lists the teaching files of a folder."""
    with report_errors():
        from braindiffusion.export.teaching.collection import write_index

        count = write_index(collection, title)
        typer.echo(f"{count} cases\n{collection / 'index.html'}\n{RESEARCH_USE_ONLY}")
