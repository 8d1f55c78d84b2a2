"""Free energies over temperature and composition: values, errors, derivatives, tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from ase.units import kB

from ...errors import InputError
from ..layout import few
from ..wording import counted
from .arguments import kelvins, numbers
from .composition import Axis, axis_of, fractions_of, ln_arrangements
from .observations import Observations

__all__ = ["DOUBTFUL_SHARE", "FreeEnergies", "error_of"]

DOUBTFUL_SHARE = 1.0 / 3.0
"""A value is not converged where more of its weight comes from chains that are not."""

_KNOWN_SHARE = 0.9
"""A quantity that fewer of the resamples have than this has no error."""


def error_of(replicates: np.ndarray) -> np.ndarray:
    """Return the standard deviation over resamples, [n_resamples, ...] -> [...].

    NaN where more than a tenth of them do not have the quantity.
    """
    known = np.isfinite(replicates)
    number = known.sum(axis=0)
    mean = np.where(known, replicates, 0.0).sum(axis=0) / np.maximum(number, 1)
    square = np.where(known, replicates - mean, 0.0) ** 2
    error = np.sqrt(square.sum(axis=0) / np.maximum(number - 1, 1))
    return np.where((number >= _KNOWN_SHARE * len(replicates)) & (number > 1), error, np.nan)


@dataclass(frozen=True, eq=False)
class FreeEnergies:
    """Free energy F(x, T) = −k_BT ln Σ_σ e^{−βE(σ)} of every composition, with what follows of it.

    Arrays are over (temperature, composition): ``free_energy`` and ``energy`` in eV per site of the
    cell, ``heat_capacity`` at fixed composition in k_B per site, NaN where nothing was sampled;
    ``replicates`` holds the same three by name, [n_resamples, n_temperatures, n_compositions], from
    which every error is made. ``effective`` is the number of draws that a composition rests on,
    ``doubtful`` the share of its weight from chains that did not converge, ``converged`` the
    verdict. ``compositions`` [n_compositions, n_kinds] are counts of ``kinds``.
    ``absolute`` tells whether the constant is known: otherwise F of all compositions is off by the
    same multiple of T. ``route`` and ``notes`` say how it was found. Made by `free_energy` and
    `wang_landau_free_energy`.
    """

    cell: Observations
    temperatures: np.ndarray
    compositions: np.ndarray
    free_energy: np.ndarray
    energy: np.ndarray
    heat_capacity: np.ndarray
    replicates: Mapping[str, np.ndarray] = field(repr=False)
    effective: np.ndarray = field(repr=False)
    doubtful: np.ndarray = field(repr=False)
    converged: np.ndarray = field(repr=False)
    absolute: bool = True
    route: str = ""
    notes: tuple[str, ...] = ()

    @cached_property
    def axis(self) -> Axis | None:
        """The fraction that varies, None if there is none or more than one."""
        return axis_of(self.cell, self.compositions)

    @property
    def beta(self) -> np.ndarray:
        """1/(k_B T) in 1/eV, [n_temperatures]."""
        return np.asarray(1.0 / (kB * self.temperatures))

    @cached_property
    def ln_arrangements(self) -> np.ndarray:
        """Logarithm of the number of arrangements, [n_compositions]."""
        return ln_arrangements(self.cell, self.compositions)

    @cached_property
    def table(self) -> xr.Dataset:
        """Everything as a Dataset over ``temperature`` and ``composition``.

        ``free_energy`` and ``energy`` (eV per site), ``entropy`` and ``heat_capacity`` (k_B per
        site), each with ``…_error``; ``effective_draws``; ``converged``. Fractions are coordinates.
        """
        dims = ("temperature", "composition")
        kelvin = self.temperatures[:, None]
        entropy = (self.energy - self.free_energy) / (kB * kelvin)
        again = (self.replicates["energy"] - self.replicates["free_energy"]) / (kB * kelvin)
        quantities = {
            "free_energy": (self.free_energy, self.replicates["free_energy"], "eV per site"),
            "energy": (self.energy, self.replicates["energy"], "eV per site"),
            "entropy": (entropy, again, "k_B per site"),
            "heat_capacity": (
                self.heat_capacity,
                self.replicates["heat_capacity"],
                "k_B per site",
            ),
        }
        variables: dict[str, Any] = {}
        for name, (value, replicates, unit) in quantities.items():
            variables[name] = (dims, value, {"units": unit})
            variables[f"{name}_error"] = (dims, error_of(replicates), {"units": unit})
        variables["effective_draws"] = (dims, self.effective, {"units": "1"})
        variables["converged"] = (dims, self.converged)
        coordinates: dict[str, Any] = {"temperature": ("temperature", self.temperatures)}
        columns, x = fractions_of(self.cell, self.compositions)
        for n, values in zip(columns, x.T, strict=True):
            name, species = self.cell.kinds[n]
            coordinates[f"x_{name}_{species}"] = ("composition", values, {"units": "1"})
        found = xr.Dataset(variables, coordinates)
        found["temperature"].attrs["units"] = "K"
        return found

    def one_axis(self) -> Axis:
        """Return the fraction that varies.

        Raises
        ------
        InputError
            If there is none or more than one.
        """
        if self.axis is None:
            columns, _ = fractions_of(self.cell, self.compositions)
            names = [
                f"{species} on {name}" for name, species in (self.cell.kinds[n] for n in columns)
            ]
            raise InputError(
                f"{len(columns)} fractions vary ({', '.join(names) or 'none'}): this needs one; "
                "give runs along one line of compositions, or take the hull of mixing_free_energy"
            )
        return self.axis

    def chemical_potential(self) -> xr.Dataset:
        """Slope of F between neighbouring compositions: the difference of chemical potentials.

        μ of the axis' last species less that of the other, [F(N + 1) − F(N)] over one exchange, eV.

        Returns
        -------
        Dataset over ``temperature`` and ``between``, with ``mean``, ``error``, and the fraction
        ``x`` halfway.

        Raises
        ------
        InputError
            If more than one fraction varies.
        """
        axis = self.one_axis()
        order = np.argsort(axis.x)
        steps = np.diff(axis.x[order]) * axis.size / self.cell.n_sites
        value = np.diff(self.free_energy[:, order]) / steps
        error = error_of(np.diff(self.replicates["free_energy"][..., order]) / steps)
        x = axis.x[order]
        return self._labelled("between", value, error, 0.5 * (x[1:] + x[:-1]), "eV")

    def curvature(self) -> xr.Dataset:
        """Second difference of F over x: ∂²f/∂x² per site of the axis' sublattice, eV.

        Its inverse times k_BT is N times the variance of the fraction in a semi-grand ensemble. It
        is negative between the spinodal points, where one phase is not even metastable.

        Returns
        -------
        Dataset over ``temperature`` and ``at``, with ``mean``, ``error`` and ``x``.

        Raises
        ------
        InputError
            If more than one fraction varies, or fewer than three compositions are known.
        """
        axis = self.one_axis()
        if len(axis.x) < 3:
            raise InputError("a curvature needs three compositions: sample more")
        order = np.argsort(axis.x)
        x, scale = axis.x[order], self.cell.n_sites / axis.size
        value = scale * _second_difference(self.free_energy[:, order], x)
        error = error_of(scale * _second_difference(self.replicates["free_energy"][..., order], x))
        return self._labelled("at", value, error, x[1:-1], "eV")

    def semi_grand(self, mu: Sequence[float] | float) -> xr.Dataset:
        r"""Mean fraction and susceptibility at chemical potentials, by reweighting.

        .. math:: p(N) ∝ e^{−β[F(N) − μN]}, \qquad χ = β N_s (⟨x²⟩ − ⟨x⟩²) = ∂⟨x⟩/∂μ

        Parameters
        ----------
        mu
            Of the axis' last species less the other, eV.

        Returns
        -------
        Dataset over ``temperature`` and ``mu``: ``fraction``, ``susceptibility`` (1/eV) and
        ``edge`` (the weight of the outermost compositions that were sampled and are not pure: large
        where states are missing), with errors of the first two.

        Raises
        ------
        InputError
            If more than one fraction varies, or ``mu`` holds no numbers.
        """
        axis = self.one_axis()
        at = numbers(mu, "mu")
        value, edge = _reweighted(self, self.free_energy, axis, at)
        again = np.array(
            [_reweighted(self, f, axis, at)[0] for f in self.replicates["free_energy"]]
        )
        errors = error_of(again)
        dims = ("temperature", "mu")
        return xr.Dataset(
            {
                "fraction": (dims, value[0], {"units": "1"}),
                "fraction_error": (dims, errors[0], {"units": "1"}),
                "susceptibility": (dims, value[1], {"units": "1/eV"}),
                "susceptibility_error": (dims, errors[1], {"units": "1/eV"}),
                "edge": (dims, edge, {"units": "1"}),
            },
            {"temperature": self.temperatures, "mu": ("mu", at, {"units": "eV"})},
        )

    @property
    def statement(self) -> str:
        """What was found, in words, caveats included."""
        return " ".join([self.findings, *self.caveats])

    @property
    def caveats(self) -> tuple[str, ...]:
        """The notes, and that of compositions which tell nothing of mixing."""
        known = np.isfinite(self.free_energy).any(axis=0)
        if known.sum() < 2 or (self.ln_arrangements[known] > 0).any():
            return self.notes
        return (*self.notes, "Only pure compositions were sampled: nothing is known of mixtures.")

    @property
    def findings(self) -> str:
        """What was found, in words, without the caveats, to be shown beside these."""
        known = np.isfinite(self.free_energy)
        low, high = float(self.temperatures.min()), float(self.temperatures.max())
        kelvin = f"{low:,.6g} K" if low == high else f"{low:,.6g} to {high:,.6g} K"
        error = error_of(self.replicates["free_energy"])[known]
        error = error[np.isfinite(error)]
        parts = [
            f"Free energies of {counted(int(known.any(axis=0).sum()), 'composition')} at {kelvin} "
            f"{self.route}"
            + (f", with errors up to {1e3 * error.max():.2g} meV per site." if error.size else ".")
        ]
        bad = int((known & ~self.converged).sum())
        if bad:
            parts.append(
                f"{bad} of {int(known.sum())} {'rests' if bad == 1 else 'rest'} on too few draws, "
                "or on chains that did not converge."
            )
        if not self.absolute:
            parts.append(
                "The constant is not known: differences between compositions are, entropies are "
                "not."
            )
        return " ".join(parts)

    def rows(self) -> list[dict[str, Any]]:
        """One row per temperature and composition that is known, for CSV."""
        table = self.table
        fractions = {
            str(name): table[name].to_numpy() for name in table.coords if str(name).startswith("x_")
        }
        columns = {str(name): values.to_numpy() for name, values in table.data_vars.items()}
        found = []
        for t, c in np.argwhere(np.isfinite(self.free_energy)).tolist():
            row: dict[str, Any] = {"temperature": float(self.temperatures[t])}
            row |= {name: float(x[c]) for name, x in fractions.items()}
            for name, values in columns.items():
                value = values[t, c].item()
                row[name] = value if math.isfinite(value) else None
            found.append(row)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with a statement in words; caveats (notes) stand beside it."""
        return {
            "statement": self.findings,
            "axis": self.axis.name if self.axis else None,
            "n_sites": self.cell.n_sites,
            "route": self.route,
            "absolute": self.absolute,
            "notes": list(self.caveats),
            "rows": self.rows(),
        }

    def at(self, temperature: float) -> int:
        """Index of a temperature.

        Raises
        ------
        InputError
            If it is none of those that were asked for.
        """
        near = np.flatnonzero(np.isclose(self.temperatures, kelvins(temperature)[0], rtol=1e-9))
        if not len(near):
            known = few([f"{t:g}" for t in self.temperatures])
            raise InputError(f"{temperature:g} K is none of the temperatures: {known} K")
        return int(near[0])

    def _labelled(
        self, dim: str, value: np.ndarray, error: np.ndarray, x: np.ndarray, unit: str
    ) -> xr.Dataset:
        dims, attrs = ("temperature", dim), {"units": unit}
        return xr.Dataset(
            {"mean": (dims, value, attrs), "error": (dims, error, attrs)},
            {"temperature": self.temperatures, "x": (dim, x, {"units": "1"})},
        )


def _second_difference(f: np.ndarray, x: np.ndarray) -> np.ndarray:
    slopes = np.diff(f) / np.diff(x)
    return np.asarray(2.0 * np.diff(slopes) / (x[2:] - x[:-2]))


def _reweighted(
    free: FreeEnergies, f: np.ndarray, axis: Axis, mu: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fraction and susceptibility [2, n_temperatures, n_mu], and the weight at the edge."""
    numbers = axis.x * axis.size
    log = -free.beta[:, None, None] * (
        np.where(np.isfinite(f), f, np.inf)[:, None] * free.cell.n_sites - mu[:, None] * numbers
    )
    p = np.exp(log - log.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    mean = p @ axis.x
    variance = (p * (axis.x - mean[..., None]) ** 2).sum(axis=-1)
    known = np.isfinite(f).any(axis=0)
    ends = [np.where(known, axis.x, np.nan)]
    outer = [int(np.nanargmin(ends[0])), int(np.nanargmax(ends[0]))]
    open_ended = [n for n in outer if 0.0 < axis.x[n] < 1.0]
    edge = p[..., open_ended].sum(axis=-1)
    return np.array([mean, free.beta[:, None] * axis.size * variance]), edge
