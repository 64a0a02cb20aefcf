"""Every installed model measured by its task: honest numbers, one figure, and what they mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from braindiffusion import RESEARCH_USE_ONLY, __version__
from braindiffusion.cards import installed, read_card
from braindiffusion.errors import PackError
from braindiffusion.evaluation.models.brain_masks import evaluate_brain_mask
from braindiffusion.evaluation.models.classifiers import evaluate_autoencoder, evaluate_classifier
from braindiffusion.evaluation.models.context import evaluate_context
from braindiffusion.evaluation.models.data import Bench, Finding, bench_for
from braindiffusion.evaluation.models.denoisers import evaluate_denoiser
from braindiffusion.evaluation.models.gans import evaluate_gan
from braindiffusion.evaluation.models.segmenters import evaluate_lesion_segmenter
from braindiffusion.events import Event, OnEvent
from braindiffusion.io.tables import markdown_text
from braindiffusion.models.device import choose_device
from braindiffusion.models.registry import load_model, update_card
from braindiffusion.pipeline.provenance import plain

Evaluator = Callable[[Bench, Path], Finding]
EVALUATORS: dict[str, Evaluator] = {
    "denoiser": evaluate_denoiser,
    "context": evaluate_context,
    "lesion_painter": evaluate_context,
    "latent_denoiser": evaluate_denoiser,
    "autoencoder": evaluate_autoencoder,
    "vqvae": evaluate_autoencoder,
    "denoising_ae": evaluate_autoencoder,
    "classifier": evaluate_classifier,
    "noised_classifier": evaluate_classifier,
    "brain_mask": evaluate_brain_mask,
    "lesion_segmenter": evaluate_lesion_segmenter,
    "gan": evaluate_gan,
    "gan_encoder": evaluate_autoencoder,
}
"""One line here per task. An evaluator measures a model and writes its figure to the path it is given."""


@dataclass
class ModelReport:
    """What was measured, of all models.

    Attributes:
        models: name -> task, parameters, headline, numbers, definitions.
        skipped: name -> why it was not measured.
        tables: (name, table) -> rows.
    """

    split: str
    limit: int | None
    models: dict[str, dict[str, Any]]
    skipped: dict[str, str]
    tables: dict[tuple[str, str], list[dict[str, Any]]]

    def facts(self) -> dict[str, Any]:
        """Everything as plain data."""
        return plain(
            {
                "use": RESEARCH_USE_ONLY,
                "version": __version__,
                "split": self.split,
                "limit": self.limit,
                "models": self.models,
                "not_measured": self.skipped,
            }
        )

    def markdown(self) -> str:
        """An overview, then each model's numbers with their definitions."""
        lines = [
            f"Split **{self.split}**" + (f", at most {self.limit} slices of each." if self.limit else "."),
            "",
            "| model | task | parameters | measured | s a slice on CPU (threads) |",
            "|---|---|---|---|---|",
        ]
        for name, m in self.models.items():
            n = m["numbers"]
            seconds = f"{n['cpu_seconds_per_slice']:.4f} ({n['threads']})"
            lines.append(f"| `{name}` | {m['task']} | {m['parameters'] / 1e6:.2f} M | {m['headline']} | {seconds} |")
        lines += [f"| `{name}` | | | not measured: {markdown_text(why)} | |" for name, why in self.skipped.items()]
        for name, m in self.models.items():
            lines += ["", f"## {name}", "", f"![{m['task']}]({name}.png)", ""]
            lines += _listed(m["numbers"])
            lines += ["", *(f"- *{k}*: {v}" for k, v in m["definitions"].items())]
        return "\n".join([*lines, "", RESEARCH_USE_ONLY, ""])


def _listed(numbers: dict[str, Any], indent: str = "") -> list[str]:
    """Nested numbers as a list; long ones in one line."""
    lines = []
    for key, value in numbers.items():
        if isinstance(value, dict) and any(isinstance(v, dict) for v in value.values()):
            lines += [f"{indent}- {key}:", *_listed(value, indent + "  ")]
        elif isinstance(value, dict):
            lines.append(f"{indent}- {key}: " + ", ".join(f"{k} {v}" for k, v in value.items()))
        else:
            lines.append(f"{indent}- {key}: {value}")
    return lines


def evaluate_models(
    data: Path,
    names: list[str] | None,
    split: str,
    picture: Callable[[str], Path],
    *,
    limit: int | None = None,
    device: str = "auto",
    cache: Path | None = None,
    on_event: OnEvent | None = None,
) -> ModelReport:
    """Measure models on a split.

    Args:
        data: folder of packs and volumes.
        names: which models; without them all that are installed, and what cannot be measured is left out with the
            reason.
        picture: file to write for a name such as ``flair-healthy-128.png``.
        limit: at most this many slices (brain masks: subjects), for a quick look.
        cache: where packs on the model grid are kept.

    Raises:
        ModelNotFoundError, PackError: for a model that was asked for by name.
    """
    chosen = choose_device(device)
    report = ModelReport(split, limit, {}, {}, {})
    todo = names or list(installed())
    for done, name in enumerate(todo):
        if on_event:
            on_event(Event("evaluate", done, len(todo)))
        card = read_card(name)
        evaluator = EVALUATORS.get(str(card.get("task")))
        if evaluator is None:
            report.skipped[name] = f"no way to measure the task '{card.get('task')}' is known"
            continue
        try:
            bench = bench_for(load_model(name, str(chosen)), data, split, limit, chosen, cache)
        except PackError as error:
            if names:
                raise
            report.skipped[name] = f"{error.what} {error.why}"
            continue
        with torch.no_grad():
            found = evaluator(bench, picture(f"{name}.png"))
        report.models[name] = {
            "task": card["task"], "sha256": card["sha256"],
            "parameters": sum(p.numel() for p in bench.model.network.parameters()),
            "headline": found.headline, "numbers": found.numbers, "definitions": found.definitions,
        }  # fmt: skip
        report.tables |= {(name, table): rows for table, rows in found.tables.items()}
    if on_event:
        on_event(Event("evaluate", len(todo), len(todo)))
    return report


def write_to_cards(report: ModelReport) -> None:
    """Merge the numbers, with split and definitions, into the cards under ``evaluation``; other splits stay."""
    facts = report.facts()
    for name, m in facts["models"].items():
        card = read_card(name)
        entry = {
            "limit": report.limit,
            "numbers": m["numbers"],
            "definitions": m["definitions"],
            "version": __version__,
        }
        update_card(
            name,
            {"parameters": m["parameters"], "evaluation": {**card.get("evaluation", {}), report.split: entry}},
        )
