"""Whether works of successive rounds, and what was seen in between, speak of equilibrium.

A chain that has run a protocol forward goes back in the next round, after an equilibration at the
far end. Where that is too short, every start remembers the protocol before it: all rounds and all
chains are off alike, which no scatter among them shows.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm, ttest_1samp, ttest_ind

from ...alchemical_records import Works
from ..caveats import Caveat
from .bennett import inefficiency

__all__ = ["caveats_of_rounds"]

_CHANCE = {"drift": 0.01, "works": 0.001}
"""Probability of an alarm where starts are in equilibrium, of both ends together.

Works vary more than what was measured for the purpose: they tell of gross cases only.
"""
_FEWEST = 3
_REMEDY = "raise the equilibration"


def caveats_of_rounds(works: Works) -> list[Caveat]:
    """Say where starts were not in equilibrium, by three tests (1 % and twice 0.1 % false alarms).

    The energy of the starts' own end, which must not drift in the second half of an equilibration
    (t-test of `Works.drift`); the work of a chain, which must not depend on that of its last round
    (Pearson's r by Fisher's transformation); and the first round, whose mean must be that of later
    ones (Welch's test). Each needs more than one round or chain to tell anything.
    """
    found = [_drifting(works), _remembered(works), _first_apart(works)]
    return [Caveat("warning", "equilibration", text) for text in found if text]


def _drifting(works: Works) -> str:
    for end in (0, 1):
        rise = works.drift[:, end].ravel()
        if _varied(rise) and ttest_1samp(rise, 0.0).pvalue < _CHANCE["drift"] / 2:
            error = rise.std(ddof=1) / np.sqrt(rise.size)
            return (
                f"U at s = {end} still changes by {1e3 * rise.mean():+.2g} meV "
                f"({abs(rise.mean()) / error:.1f} errors) from the second quarter to the last of "
                f"an equilibration: protocols start off equilibrium, which biases ΔF by an amount "
                f"that its error leaves out; {_REMEDY}."
            )
    return ""


def _remembered(works: Works) -> str:
    forward, reverse = works.forward, works.reverse
    if forward.shape != reverse.shape or forward.ndim != 2 or len(forward) < 2:
        return ""
    for before, after in ((forward[:-1], reverse[1:]), (reverse[:-1], forward[1:])):
        x, y = before - before.mean(), after - after.mean()
        if not (_varied(x) and _varied(y)):
            continue
        r = float((x * y).mean() / (x.std() * y.std()))
        n = x.size / inefficiency(x * y)  # of series with a memory of their own, fewer
        far = np.arctanh(min(abs(r), 1.0 - 1e-12)) * np.sqrt(max(n - 3.0, 0.0))
        if 2.0 * norm.sf(far) < _CHANCE["works"] / 2:
            return (
                f"Works of a chain correlate with those of its round before (r = {r:.2f}): starts "
                f"remember the last protocol, which may bias ΔF; {_REMEDY}."
            )
    return ""


def _first_apart(works: Works) -> str:
    for name, each in (("forward", works.forward), ("reverse", works.reverse)):
        if each.ndim != 2 or len(each) < 2:
            continue
        first, later = each[0], each[1:].ravel()
        if not (_varied(first) and _varied(later)):
            continue
        if ttest_ind(first, later, equal_var=False).pvalue < _CHANCE["works"] / 2:
            apart = 1e3 * (first.mean() - later.mean())
            return (
                f"Works {name} of the first round are {apart:+.2g} meV from those of later ones: "
                f"the chains had not forgotten where they began; {_REMEDY} or the warm-up."
            )
    return ""


def _varied(values: np.ndarray) -> bool:
    """Whether there is enough that differs for a test to be made."""
    return values.size >= _FEWEST and np.ptp(values) > 1e-9 * max(1.0, float(np.abs(values).max()))
