"""Our accuracy against a published one, with the errors of both, and what a study's size lets such a comparison say."""

import numpy as np
import pandas as pd
from scipy.stats import betabinom

from mammolib.intervals import wilson


def difference_of_shares(
    ours: tuple[float, float, float], published: float, effective_n: float
) -> tuple[float, float, float]:
    """Ours minus published with a 95 % interval from both sides' intervals.

    The published side has Wilson's interval. The two are joined as Newcombe does (1998, Statist. Med. 17:873).
    """
    value, low, high = ours
    other_low, other_high = wilson(published, effective_n)
    gap = value - published
    below, above = np.hypot(value - low, other_high - published), np.hypot(high - value, published - other_low)
    return gap, gap - float(below), gap + float(above)


def verdict_of_difference(difference: tuple[float, float, float], margin: float) -> tuple[str, str]:
    """Compatible: the interval lies within the margin. Incompatible: it leaves the margin and excludes 0. Else open."""
    gap, low, high = difference
    why = f"difference {gap:+.2f} [{low:+.2f}, {high:+.2f}], margin {margin:g}"
    if -margin <= low and high <= margin:
        return "compatible", why
    return ("incompatible" if low > 0 or high < 0 else "inconclusive"), why


def half_width(published: float, effective_n: float, patients: float) -> float:
    """Half of the interval of a difference, were ours equal to the published share and of so many patients."""
    _, low, high = difference_of_shares((published, *wilson(published, patients)), published, effective_n)
    return (high - low) / 2


def chance_of_compatible(row, patients: int) -> float:
    """How often a model as good as the paper's is called compatible, with so many independent patients.

    Its true accuracy is not known better than the published number tells: Jeffreys' posterior, so ours is
    beta-binomial.
    """
    right = np.arange(patients + 1)
    ours = [(share, *wilson(share, patients)) for share in right / patients]
    gaps = [difference_of_shares(one, row.value, row.effective_n) for one in ours]
    called = [verdict_of_difference(gap, row.margin)[0] for gap in gaps]
    a, b = (row.effective_n * share + 0.5 for share in (row.value, 1 - row.value))
    return float(betabinom.pmf(right, patients, a, b)[np.array(called) == "compatible"].sum())


def what_size_allows(claims: pd.DataFrame) -> str:
    """How wide the accuracy's difference is at the paper's size and with independent patients, and what follows."""
    lines = []
    for row in claims[(claims["metric"] == "accuracy") & (claims["rule"] == "difference")].itertuples():
        least = half_width(row.value, row.effective_n, 1e9)
        lines.append(f"margin {row.margin:g}; half-width of the difference, and how often a model that is as good as")
        lines.append("the paper's comes out compatible (otherwise inconclusive, once in a while incompatible):")
        for n in (round(row.effective_n), 400, 2000):
            half, chance = half_width(row.value, row.effective_n, n), chance_of_compatible(row, n)
            lines.append(f"  {n:5d} independent observations  {half:.3f}  {chance:.2f}")
        lines[2] += f"  (worth the paper's {row.n:.0f} images, two views a patient)"
        lines.append(f"however many there are, {least:.3f} is left: the error of the published {row.n:.0f} images")
    return "\n".join(lines)
