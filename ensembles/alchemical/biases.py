"""Biases of λ: energies that are added while composition is sampled, and taken off afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...errors import InputError
from .groups import Groups

__all__ = ["END", "Biases"]

END = 0.017
"""α of the end-point terms: how near an end they rise."""


@dataclass(frozen=True, eq=False)
class Biases:
    r"""Energy of the λ of groups, in eV, that is added to the model's.

    .. math:: B(λ) = \sum_g \Big[ \sum_k φ_{gk} λ_{gk} + \sum_{k<l} ψ_{gkl} λ_{gk} λ_{gl}
              + \sum_{k≠l} ω_{gkl} \frac{λ_{gk} λ_{gl}}{λ_{gk} + α} \Big]
              + \sum_{g<h} \sum_{kl} c_{gkhl} λ_{gk} λ_{hl}

    with α = 0.017: linear terms, quadratic ones (barriers between the ends), terms that rise near
    an end, and couplings of two groups. The first three are forms that flatten the landscapes of
    multisite λ-dynamics (Hayes, Armacost, Vilseck and Brooks 2017, doi:10.1021/acs.jpcb.6b09656).
    At vertices the linear terms and the couplings are left.

    Parameters
    ----------
    groups
        Sites that share a λ.
    linear
        φ in eV, [n_groups, n_species_max].
    quadratic
        ψ in eV, [n_groups, n_species_max, n_species_max], symmetric.
    end_point
        ω in eV, the same shape; row k, column l.
    coupling
        c in eV, [n_groups, n_species_max, n_groups, n_species_max], symmetric under the exchange of
        both pairs of axes.

    What is not given is zero; so is every term of a species that a group may not hold, the diagonal
    of ψ and ω, and the coupling of a group with itself.

    Raises
    ------
    InputError
        If a shape is another, or a number is not finite or not zero where it must be.

    Examples
    --------
    >>> from alchemc import builders
    >>> from alchemc.ensembles.alchemical import Biases, Groups
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    >>> biases = Biases(Groups.whole(lattice), linear=np.array([[0.0, 0.3]]))
    >>> biases.energy(np.array([[0.5, 0.5]])).item(), biases.of_states(np.array([[1]])).item()
    (0.15, 0.3)
    """

    groups: Groups
    linear: np.ndarray = None  # type: ignore[assignment]  # zeros from here on
    quadratic: np.ndarray = None  # type: ignore[assignment]
    end_point: np.ndarray = None  # type: ignore[assignment]
    coupling: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if not isinstance(self.groups, Groups):
            raise InputError(f"groups is a {type(self.groups).__name__}; give Groups")
        for name, may in _places(self.groups).items():
            object.__setattr__(self, name, _checked(name, getattr(self, name), may))
        for name, order in (("quadratic", (0, 2, 1)), ("coupling", (2, 3, 0, 1))):
            values = getattr(self, name)
            if not np.allclose(values, values.transpose(order), rtol=0.0, atol=1e-12):
                raise InputError(
                    f"{name} is not symmetric: give each pair of λ the same energy both ways"
                )

    # ---- energies --------------------------------------------------------------------------

    def energy(self, weights: np.ndarray) -> np.ndarray:
        """Bias energies [...] in eV of λ [..., n_groups, n_species_max]."""
        weights = np.asarray(weights, dtype=np.float64)
        coupled = (weights * self.field(weights)).sum(axis=-1)
        return (self.own(weights) + 0.5 * coupled).sum(axis=-1)

    def gradient(self, weights: np.ndarray) -> np.ndarray:
        """∂B/∂λ in eV, [..., n_groups, n_species_max]."""
        weights = np.asarray(weights, dtype=np.float64)
        first, second = weights[..., :, None], weights[..., None, :]
        rising = self.end_point * END / (first + END) ** 2 * second  # by λ_k of ω_kl
        falling = self.end_point * first / (first + END)  # by λ_l
        found = self.linear + (self.quadratic * second).sum(axis=-1)
        return found + rising.sum(axis=-1) + falling.sum(axis=-2) + self.field(weights)

    def of_states(self, states: np.ndarray) -> np.ndarray:
        """Bias energies [...] in eV where every group is at a vertex, [..., n_groups]."""
        return self.energy(self.groups.vertices(states))

    def own(self, weights: np.ndarray) -> np.ndarray:
        """Part of every group by itself, couplings left out: [..., n_groups] in eV."""
        first, second = weights[..., :, None], weights[..., None, :]
        pairs = 0.5 * self.quadratic + self.end_point / (first + END)
        return (self.linear * weights).sum(axis=-1) + (pairs * first * second).sum(axis=(-2, -1))

    def field(self, weights: np.ndarray) -> np.ndarray:
        """Σ_hl c_gkhl λ_hl, what the others do to every group: [..., n_groups, n_species_max]."""
        if not self.coupled:
            return np.zeros_like(weights)
        return (self.coupling * weights[..., None, None, :, :]).sum(axis=(-2, -1))

    @property
    def coupled(self) -> bool:
        """Whether there are couplings between groups."""
        return bool(np.any(self.coupling))

    # ---- other terms -----------------------------------------------------------------------

    def plus(self, **terms: np.ndarray) -> Biases:
        """Return biases with more of ``linear``, ``quadratic``, ``end_point`` or ``coupling``.

        The linear term of a group's first species stays zero: what all its states share is no bias.
        """
        made: dict[str, Any] = {n: getattr(self, n) + values for n, values in terms.items()}
        linear = np.asarray(made.get("linear", self.linear))
        allowed = self.groups.allowed
        first = linear[np.arange(len(linear)), allowed.argmax(axis=1)]
        made["linear"] = np.where(allowed, linear - first[:, None], 0.0)
        return replace(self, **made)

    def to_arrays(self) -> dict[str, Any]:
        """Return the terms as arrays by name."""
        return {name: np.array(getattr(self, name)) for name in _places(self.groups)}

    def with_arrays(self, arrays: Mapping[str, Any]) -> Biases:
        """Return biases of the same groups with the terms that ``to_arrays`` gave."""
        made: dict[str, Any] = {name: np.asarray(arrays[name]) for name in _places(self.groups)}
        return replace(self, **made)


def _places(groups: Groups) -> dict[str, np.ndarray]:
    """Where each kind of term may differ from zero."""
    allowed = groups.allowed
    unlike = ~np.eye(allowed.shape[1], dtype=bool)
    pairs = allowed[:, :, None] & allowed[:, None, :] & unlike
    apart = ~np.eye(len(allowed), dtype=bool)[:, None, :, None]
    return {
        "linear": np.array(allowed),
        "quadratic": pairs,
        "end_point": pairs,
        "coupling": allowed[:, :, None, None] & allowed & apart,
    }


def _checked(name: str, values: Any, may: np.ndarray) -> np.ndarray:
    """Read-only terms, refused where they are none."""
    found = np.zeros(may.shape) if values is None else np.array(values, dtype=np.float64)
    if found.shape != may.shape:
        raise InputError(f"{name} has shape {found.shape}; expected {may.shape}")
    if not np.isfinite(found).all():
        raise InputError(f"{name} holds {found[~np.isfinite(found)][0]}; give eV, finite")
    if np.any(found[~may]):
        where = [int(i) for i in np.argwhere(~may & (found != 0.0))[0]]
        raise InputError(
            f"{name}{where} is {found[tuple(where)]}, a term that does not exist: set it to zero"
        )
    found.flags.writeable = False
    return found
