"""Which cases take part, in which order each reader sees them, and which come twice. Drawn from one generator."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from braindiffusion.errors import SettingsError, StudyError

if TYPE_CHECKING:
    from braindiffusion.export.faces import Face

APART = 5
"""Cases of one subject lie at least this many places apart where it can be helped."""
SWAPS = 5000
_READER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


@dataclass(frozen=True)
class StudySettings:
    """How a study is drawn.

    Attributes:
        readers: their codes; no names.
        per_method: cases of each method and real ones; ``None``: all.
        shared: the same subjects for all methods, as far as names tell.
        repeats: cases each reader sees twice; ``None``: what the protocol says, at most all.
        seed: of everything drawn. ``None`` draws one that cannot be guessed: whoever knows the seed and the folders
            can tell the methods.
        strata: name -> stratum; lesion_ml: volume edges that make strata. At most one of them.
        face: ``remove`` what is more than 12 mm from the brain, ``blur`` it, or ``keep`` it.
        device: where the brain is found for that.
        mixed_grids: accept scans of different size or spacing, which may tell the methods apart.
        title: shown to readers; ``None``: the protocol's.
    """

    readers: tuple[str, ...] = ("R1",)
    per_method: int | None = None
    shared: bool = True
    repeats: int | None = None
    seed: int | None = None
    strata: dict[str, str] | None = None
    lesion_ml: list[float] | None = None
    face: Face = "remove"
    device: str = "cpu"
    mixed_grids: bool = False
    title: str | None = None

    def check(self) -> None:
        """Raises SettingsError for a setting outside its range."""
        codes = [r.casefold() for r in self.readers]
        if not codes or len(set(codes)) < len(codes) or not all(_READER.fullmatch(r) for r in self.readers):
            why = "Codes are distinct, of letters, digits, - and _, at most 32."
            raise SettingsError(f"The readers {', '.join(self.readers)} are not possible.", why, "Give R1,R2,R3, say.")
        if self.strata is not None and self.lesion_ml is not None:
            raise SettingsError(
                "--strata and --lesion-ml exclude each other.", "Each makes the strata.", "Give one of them."
            )
        if (self.per_method or 1) < 1 or (self.repeats or 0) < 0 or (self.seed or 0) < 0:
            why = "--per-method is at least 1, --repeats and --seed at least 0."
            raise SettingsError("A count or the seed is not possible.", why, "Give other numbers.")


@dataclass(frozen=True)
class Candidate:
    """A scan that may take part: method (``real`` for real ones), subject, stratum."""

    method: str
    subject: str
    stratum: str


def spread(strata: Sequence[str], count: int, rng: np.random.Generator) -> list[int]:
    """Indices of ``count`` items drawn as evenly over the strata as these allow, ascending."""
    pools = {s: list(rng.permutation([i for i, t in enumerate(strata) if t == s])) for s in sorted(set(strata))}
    taken: list[int] = []
    while len(taken) < count:
        open_pools = [s for s in pools if pools[s]]
        for i in rng.permutation(len(open_pools))[: count - len(taken)]:
            taken.append(int(pools[open_pools[i]].pop()))
    return sorted(taken)


def choose(
    candidates: Sequence[Candidate], per_method: int | None, shared: bool, rng: np.random.Generator
) -> list[Candidate]:
    """The scans that take part.

    Args:
        per_method: how many of each method and of the real ones; ``None`` takes all.
        shared: the same subjects for every synthetic method, so that methods can be compared case by case; ``False``
            draws for each method by itself.

    Raises:
        StudyError: a method has too few, or the methods share too few subjects.
    """
    by_method: dict[str, list[Candidate]] = {}
    for c in candidates:
        by_method.setdefault(c.method, []).append(c)
    if per_method is None:
        return list(candidates)
    for method, found in by_method.items():
        if len(found) < per_method:
            why = f"There are {len(found)}, {per_method} were asked for."
            raise StudyError(f"{method} has too few scans.", why, f"Give --per-method {len(found)} or fewer.")
    made = [m for m in by_method if m != "real"]
    common = set.intersection(*({c.subject for c in by_method[m]} for m in made)) if shared and made else set()
    if shared and len(made) > 1 and len(common) < per_method:
        raise StudyError(
            "The methods share too few subjects.",
            f"{len(common)} names are in all folders, {per_method} were asked for.",
            "Name scans of one subject alike in all folders, or give --unpaired.",
        )
    out: list[Candidate] = []
    chosen: set[str] | None = None
    for method, found in by_method.items():
        if method in made and shared and len(made) > 1:
            if chosen is None:
                pool = [c for c in found if c.subject in common]
                chosen = {pool[i].subject for i in spread([c.stratum for c in pool], per_method, rng)}
            out += [c for c in found if c.subject in chosen]
        else:
            out += [found[i] for i in spread([c.stratum for c in found], per_method, rng)]
    return out


def counts(chosen: Sequence[Candidate]) -> dict[str, dict[str, int]]:
    """Method -> stratum -> cases."""
    out: dict[str, dict[str, int]] = {}
    for (method, stratum), n in sorted(Counter((c.method, c.stratum) for c in chosen).items()):
        out.setdefault(method, {})[stratum] = n
    return out


def identifiers(count: int, length: int, rng: np.random.Generator) -> list[str]:
    """Distinct random ids of ``length`` hex digits."""
    out: dict[str, None] = {}
    while len(out) < count:
        out[rng.bytes(length // 2).hex()] = None
    return list(out)


def repeated(methods: Sequence[str], count: int, rng: np.random.Generator) -> list[int]:
    """Indices of the cases shown twice, drawn evenly over the methods.

    Raises:
        StudyError: more repeats than cases.
    """
    if count > len(methods):
        why = f"There are {len(methods)} cases, {count} are to come twice."
        raise StudyError("There are too few cases to repeat.", why, f"Give --repeats {len(methods)} or fewer.")
    return spread(methods, count, rng)


def reading_order(subjects: Sequence[str], twice: Sequence[int], rng: np.random.Generator) -> list[int]:
    """One reader's order of the cases: random, repeats in the second half, one subject's cases apart.

    A random order is mended by random swaps within its halves as long as cases of one subject lie closer than ``APART``
    places; where too few subjects allow no such order, the best found is taken.

    Args:
        subjects: of each case.
        twice: indices of the cases that come again.

    Returns:
        Indices of cases, ``len(subjects) + len(twice)`` of them.
    """
    early = [int(i) for i in rng.permutation(sorted(twice))]
    once = [int(i) for i in rng.permutation([i for i in range(len(subjects)) if i not in set(twice)])]
    half = -(-(len(subjects) + len(twice)) // 2)
    room = half - len(early)
    parts = (early + once[:room], once[room:] + early)
    order = [int(i) for part in parts for i in rng.permutation(part)]
    crowded = _crowded([subjects[i] for i in order])
    for _ in range(SWAPS):
        if not crowded:
            break
        k = crowded[int(rng.integers(len(crowded)))]
        m = int(rng.integers(half)) if k < half else int(rng.integers(half, len(order)))
        order[k], order[m] = order[m], order[k]
        after = _crowded([subjects[i] for i in order])
        if len(after) > len(crowded):
            order[k], order[m] = order[m], order[k]
        else:
            crowded = after
    return order


def _crowded(subjects: Sequence[str]) -> list[int]:
    """Places whose subject was seen less than ``APART`` places before."""
    return [k for k, s in enumerate(subjects) if s in subjects[max(0, k - APART + 1) : k]]


def pair_up(
    synthetic: Sequence[str], real: Sequence[str], methods: Sequence[str], rng: np.random.Generator
) -> list[tuple[int, str]]:
    """A real partner and the side of the synthetic scan for each synthetic one.

    Every real scan is used equally often, give or take one; a partner of the same subject is avoided where possible;
    of each method half lie on either side, give or take one.

    Args:
        synthetic, real: subjects.
        methods: of the synthetic ones.

    Returns:
        (index of the real scan, ``left`` or ``right``) for each synthetic scan.
    """
    rounds = -(-len(synthetic) // len(real))
    partners = [int(i) for _ in range(rounds) for i in rng.permutation(len(real))][: len(synthetic)]
    for k in range(len(partners)):
        if real[partners[k]] == synthetic[k]:
            swap = [
                m for m in range(len(partners))
                if real[partners[m]] != synthetic[k] and real[partners[k]] != synthetic[m]
            ]  # fmt: skip
            if swap:
                m = swap[int(rng.integers(len(swap)))]
                partners[k], partners[m] = partners[m], partners[k]
    sides: list[str] = [""] * len(synthetic)
    for method in sorted(set(methods)):
        mine = [k for k, m in enumerate(methods) if m == method]
        start = int(rng.integers(2))
        drawn = rng.permutation([("left", "right")[(start + i) % 2] for i in range(len(mine))])
        for k, side in zip(mine, drawn, strict=True):
            sides[k] = str(side)
    return list(zip(partners, sides, strict=True))
