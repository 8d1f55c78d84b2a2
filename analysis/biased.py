"""Draws of discrete states of λ: they follow a bias, which what averages draws would take along."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["follows_a_bias", "refuse_biased"]


def follows_a_bias(point: xr.Dataset) -> bool:
    """Whether the draws of a point are of groups that hop under a bias, as those of `GibbsLambda`.

    Without any bias they are still of arrangements in which a group holds one species.
    """
    return "bias_energy" in point


def refuse_biased(points: Iterable[xr.Dataset], what: str) -> None:
    """Refuse points whose draws follow a bias.

    Parameters
    ----------
    points
        Of a run.
    what
        What they would be used for, in the plural.

    Raises
    ------
    InputError
        With the remedies.
    """
    if any(map(follows_a_bias, points)):
        raise InputError(
            f"the draws follow a bias, and {what} would follow it too: give their state_log_weight "
            "to state_free_energies, or weigh draws by exp(bias_energy/k_BT), as in `reweighted`"
        )
