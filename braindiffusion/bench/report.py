"""The bench as Markdown."""

from __future__ import annotations

from typing import Any

from braindiffusion import NOT_FOR_DIAGNOSIS, RESEARCH_USE_ONLY
from braindiffusion.io.tables import markdown_table, number


def _mb(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e6:.0f}"


def machine_line(facts: dict[str, Any]) -> str:
    """The machine in one sentence."""
    memory = f", {facts['memory_bytes'] / 2**30:.0f} GiB" if facts.get("memory_bytes") else ""
    gpu = f"; {facts['gpu']}, {facts['gpu_memory_bytes'] / 2**30:.0f} GiB" if facts.get("gpu") else ""
    return (
        f"{facts['processor']}, {facts['cores']} cores, {facts['threads']} threads{memory}{gpu}; {facts['system']}, "
        f"Python {facts['python']}, torch {facts['torch']}; device {facts['device']}, native {facts['precision']}"
    )


def _ladder(rows: list[dict[str, Any]]) -> list[str]:
    head = (
        "mode | slices | s a slice | CPU s a slice | network calls a slice | peak MB | lesion Dice | "
        "against the first row, on its slices | largest change outside the mask | faster than the row before | "
        "faster than the first | in CPU s"
    )
    return markdown_table(
        head.split(" | "),
        [
            [
                row["name"], str(row["slices"]), number(row["seconds_per_slice"]),
                number(row["cpu_seconds_per_slice"]), number(row["calls_per_slice"], 0), _mb(row["peak_bytes"]),
                number(row["lesion_dice"]), f"{number(row['dice_minus_first'], 3, '+f')} ({row['shared_slices']})",
                number(row["outside"], 2, "g"), f"{row['times_step']:.2f} x", f"{row['times_faster']:.0f} x",
                f"{row['times_less_cpu']:.0f} x",
            ]
            for row in rows
        ],
    )  # fmt: skip


def _sweeps(rows: list[dict[str, Any]], linearity: dict[str, float]) -> list[str]:
    head = "sweep | value | masked slices | pixels | network calls | s | s a call | peak MB | share of matrix rate"
    lines = markdown_table(
        head.split(" | "),
        [
            [
                row["sweep"], f"{row['value']:g}", str(row["masked_slices"]), str(row["pixels"]), str(row["calls"]),
                number(row["seconds"]), number(row["seconds"] / max(1, row["calls"]), 4), _mb(row["peak_bytes"]),
                f"{100 * row['share_of_matmul_rate']:.0f} %",
            ]
            for row in rows
        ],
    )  # fmt: skip
    said = ", ".join(f"{name} {100 * worst:.0f} %" for name, worst in linearity.items())
    return [*lines, f"Largest deviation of the seconds from a straight line in the network calls: {said}.", ""]


def _mededit(rows: list[dict[str, Any]]) -> list[str]:
    head = (
        "lesion | method | steps | lesions | draws | network calls a slice | s a slice | "
        "Dice by the segmenter (each draw) | against the first (95 % CI) | FID ± SE | against the first | fewer calls"
    )

    def dice(row: dict[str, Any]) -> list[str]:
        if row["lesion_dice"] is None:
            return ["-", "-"]
        each = ", ".join(number(d) for d in row["lesion_dice_of_draws"])
        less = row["lesion_dice_minus_first"]
        low, high = (number(v, 3, "+f") for v in less["interval"])
        return [f"{number(row['lesion_dice'])} ({each})", f"{number(less['mean'], 3, '+f')} ({low} to {high})"]

    def fid(row: dict[str, Any]) -> str:
        known = row["fid"] is not None and row["draws"] > 1
        return number(row["fid"], 2) + (f" ± {row['fid_standard_error']:.2f}" if known else "")

    return markdown_table(
        head.split(" | "),
        [
            [
                row["kind"], row["method"], str(row["steps"] or "every"), str(row["lesions"]), str(row["draws"]),
                number(row["calls_per_slice"], 0), number(row["seconds_per_slice"]), *dice(row), fid(row),
                number(row["fid_minus_first"], 2, "+f"), f"{row['times_fewer_calls']:.0f} x",
            ]
            for row in rows
        ],
    )  # fmt: skip


def _reading(rows: list[dict[str, Any]]) -> list[str]:
    return markdown_table(
        ["file", "voxels, MB", "peak memory, in voxels", "CPU s", "CPU s, the library alone", "times"],
        [
            [
                row["what"], _mb(row["voxel_bytes"]), number(row["memory"], 2), number(row["seconds"]),
                number(row["library_seconds"]), f"{row['seconds'] / row['library_seconds']:.1f} x",
            ]
            for row in rows
        ],
    )  # fmt: skip


def markdown(facts: dict[str, Any]) -> str:
    """All that was measured."""
    lines = ["# Bench", "", f"{machine_line(facts['machine'])}. Command: `{facts['command']}`.", ""]
    if "ladder" in facts:
        lines += ["## Ladder of healing", "", f"{facts['slices']}. Each row keeps what the ones before it brought.", ""]
        lines += _ladder(facts["ladder"])
    if "steps" in facts:
        lines += ["## Steps against quality", "", f"{facts['slices']}.", "", *_ladder(facts["steps"])]
    if "sweeps" in facts:
        lines += ["## Cost against work", "", *_sweeps(facts["sweeps"], facts["linearity"])]
    if "latency" in facts:
        rows = [[row["what"], number(row["seconds"], 2), row["note"]] for row in facts["latency"]]
        lines += ["## What a user waits for", "", *markdown_table(["what", "s", ""], rows)]
    if "reading" in facts:
        lines += ["## Reading", "", *_reading(facts["reading"])]
    if "mededit" in facts:
        lines += ["## MedEdit with fewer calls", "", *_mededit(facts["mededit"])]
    return "\n".join([*lines, f"{NOT_FOR_DIAGNOSIS}. {RESEARCH_USE_ONLY}", ""])
