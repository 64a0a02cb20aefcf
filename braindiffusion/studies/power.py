"""What difference a study of this size can show, told before it is read."""

from __future__ import annotations

import math
from typing import Any

from braindiffusion.studies.format import REAL
from braindiffusion.studies.protocol import Protocol

ALPHA, POWER = 0.05, 0.8
GRADE_SD = 1.0
"""Assumed standard deviation of grades over cases; realism ratings of 0-4 rarely spread more."""
CORRELATION = 0.5
"""Assumed correlation of two methods' grades on the same subject."""


def smallest_mean_difference(n: int, sd: float = GRADE_SD, alpha: float = ALPHA, paired: float | None = None) -> float:
    """The smallest true difference of two means that a two-sided t test shows with the wanted power.

    Args:
        n: cases of each method; pairs where ``paired``.
        sd: of the grades over cases.
        alpha: level of one test.
        paired: correlation of the two grades of a subject; ``None`` for different subjects.

    Returns:
        Difference in grades, by the noncentral t distribution; infinite for ``n < 2``.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    if n < 2:
        return math.inf
    df = n - 1 if paired is not None else 2 * n - 2
    error = sd * math.sqrt(2 * (1 - paired) / n) if paired is not None else sd * math.sqrt(2 / n)
    critical = t.ppf(1 - alpha / 2, df)

    def short(shift: float) -> float:
        return float(nct.sf(critical, df, shift)) - POWER  # the other side's share is nothing at this power

    return float(brentq(short, 0.0, 2.0 * critical + 4.0)) * error


def smallest_accuracy(n: int, alpha: float = ALPHA) -> float:
    """The smallest true share of right answers above one half that an exact two-sided binomial test shows with the
    wanted power; NaN where no result of ``n`` answers could."""
    from scipy.optimize import brentq
    from scipy.stats import binom, binomtest

    needed = next((k for k in range(n // 2 + 1, n + 1) if binomtest(k, n, 0.5).pvalue <= alpha), None)
    if needed is None:
        return math.nan
    return float(brentq(lambda p: float(binom.sf(needed - 1, n, p)) - POWER, 0.5, 1.0))


def smallest_auc(positives: int, negatives: int, alpha: float = ALPHA) -> float:
    """The smallest true area under the ROC curve above one half that one reader shows with the wanted power.

    Standard errors by Hanley and McNeil (1982), Radiology 143:29-36, eq. 2; NaN where even 0.999 would not show.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    def error(a: float) -> float:
        q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
        spread = a * (1 - a) + (positives - 1) * (q1 - a * a) + (negatives - 1) * (q2 - a * a)
        return math.sqrt(spread / (positives * negatives))

    def short(a: float) -> float:
        return (a - 0.5 - norm.ppf(1 - alpha / 2) * error(0.5)) / error(a) - norm.ppf(POWER)

    return float(brentq(short, 0.5, 0.999)) if short(0.999) > 0 else math.nan


def power_note(protocol: Protocol, cases: dict[str, int], shared: bool) -> dict[str, Any]:
    """What the study can show, as plain data with a sentence for each number (``text``).

    Args:
        cases: method -> cases (pairs for a pair protocol).
        shared: whether the methods show the same subjects.
    """
    made = {m: n for m, n in cases.items() if m != REAL}
    comparisons, total = max(1, math.comb(len(cases), 2)), sum(made.values())
    facts: dict[str, Any] = {"alpha": ALPHA, "power": POWER, "comparisons": comparisons, "grade_sd": GRADE_SD}
    text, kinds = [], {(q.type, q.truth) for q in protocol.questions}
    if ("grades", None) in kinds and len(cases) > 1:
        alpha, least = ALPHA / comparisons, min(cases.values())
        facts["mean_difference"] = apart = smallest_mean_difference(least, alpha=alpha)
        text.append(
            f"Mean grades: with {least} cases a method, one reader and a standard deviation of {GRADE_SD:g}, "
            + _can(f"a true difference of {apart:.2f} grades between two methods", apart)
            + f" (two-sided t test, alpha {ALPHA:g} shared by {comparisons} comparisons)."
        )
        if shared and len(made) > 1:
            facts["mean_difference_same_subjects"] = same = smallest_mean_difference(
                min(made.values()), alpha=alpha, paired=CORRELATION
            )
            text.append(
                f"On the same subjects, if grades correlate by {CORRELATION:g}, "
                + _can(f"one of {same:.2f} grades", same)
                + " (paired t test)."
            )
    if ("choice", "side") in kinds:
        facts["accuracy"] = accuracy = smallest_accuracy(total)
        text.append(
            f"Forced choice: with {total} pairs and one reader, "
            + _can(f"a true accuracy of {accuracy:.0%}", accuracy)
            + " against 50 % (exact binomial test)."
        )
    if any(truth == "origin" for _, truth in kinds):
        facts["auc"] = auc = smallest_auc(total, cases.get(REAL, 0))
        text.append(
            f"Real or synthetic: with {cases.get(REAL, 0)} real and {total} synthetic cases and one reader, "
            + _can(f"a true area under the ROC curve of {auc:.2f}", auc)
            + " against 0.5 (normal test)."
        )
    text.append(
        "Several readers show smaller differences as far as they err independently. A difference smaller than these "
        "may well be there and not be found: 'not significant' is no proof of equality."
    )
    return facts | {"text": text}


def _can(what: str, value: float) -> str:
    return f"{what} is shown with {POWER:.0%} power" if math.isfinite(value) else "no difference can be shown"
