"""Harmonic vibrations of ordered and disordered arrangements, and their free energies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from ase import units
from ase.data import atomic_masses

from ...errors import ConvergenceError, InputError
from ...lattice import Lattice
from ...statistics import MIN_ESS, Summary
from ...sublattice import is_number
from ..estimates import as_chains, derived, summarize_series
from ..layout import few
from ..wording import counted, with_error
from .harmonic_modes import TERAHERTZ, force_constants, forces, modes_of, thermodynamics

__all__ = ["HarmonicFreeEnergy", "harmonic_free_energy"]

STEP = 0.005  # Å
FMAX = 0.01  # eV/Å
SOFTEST = 0.05  # THz; slower modes cannot be told from zero
MOST_ERROR = 0.02  # of the largest force constant
MOST_STRUCTURES = 1000
STATISTICS = ("quantum", "classical")


@dataclass(frozen=True, eq=False)
class HarmonicFreeEnergy:
    """Vibrations of occupations about their minima, from `harmonic_free_energy`.

    Arrays lead with the n occupations. ``quanta`` [n, n_modes]: ħω in eV, ascending, three fewer
    than coordinates; negative ones are imaginary, NaN pads where vacancies leave fewer.
    ``energies`` in eV at the positions; ``residual_forces`` in eV/Å, the largest there, and
    ``residual_energies``, by which a harmonic crystal would be lower at its minimum.
    ``asymmetry`` and ``drift``: errors of the force constants as parts of the largest one.
    ``step_change`` [n_temperatures]: change of the first stable one's quantum free energy in eV per
    cell when the displacement ``step`` (Å) is halved. ``draws`` and ``chains``: the axes the
    occupations had.
    """

    lattice: Lattice
    occupations: np.ndarray
    draws: int
    chains: int
    temperatures: np.ndarray
    energies: np.ndarray
    quanta: np.ndarray
    residual_forces: np.ndarray
    residual_energies: np.ndarray
    asymmetry: np.ndarray
    drift: np.ndarray
    step: float
    step_change: np.ndarray

    @property
    def frequencies(self) -> np.ndarray:
        """ω/2π in THz, like ``quanta``."""
        return self.quanta / TERAHERTZ

    @property
    def imaginary(self) -> np.ndarray:
        """Modes that are imaginary or too slow (0.05 THz) to be told from that, int [n]."""
        return np.asarray((self.quanta < SOFTEST * TERAHERTZ).sum(axis=1))

    @property
    def zero_point_energy(self) -> np.ndarray:
        """Σ ½ħω in eV per cell, [n]; NaN where a mode is imaginary."""
        return np.where(self.imaginary > 0, np.nan, 0.5 * np.nansum(self.quanta, axis=1))

    def vibrational(self, temperature: float, statistics: str = "quantum") -> np.ndarray:
        """Vibrational free energies in eV per cell, [n], at any temperature in K.

        Without the energy of the minimum; NaN where a mode is imaginary. ``statistics`` is
        ``"quantum"`` or ``"classical"``.
        """
        return self._functions(temperature, statistics)[0]

    def entropy(self, temperature: float, statistics: str = "quantum") -> np.ndarray:
        """Vibrational entropies in eV/K per cell, [n], at any temperature in K."""
        return self._functions(temperature, statistics)[1]

    def _functions(self, temperature: float, statistics: str) -> tuple[np.ndarray, np.ndarray]:
        if statistics not in STATISTICS:
            raise InputError(f"statistics is {statistics!r}; give one of {', '.join(STATISTICS)}")
        (kelvin,) = _checked_temperatures([temperature])
        stable = self.imaginary == 0
        safe = np.where(stable[:, None], self.quanta, np.nan)
        found = thermodynamics(safe, float(kelvin), statistics)
        return np.where(stable, found[0], np.nan), np.where(stable, found[1], np.nan)

    def average(self, temperature: float, statistics: str = "quantum") -> Summary:
        r"""Vibrational part of the free energy of what the occupations are draws of, eV per cell.

        Draws of the relaxed (or any static) landscape at this temperature give exactly

        .. math:: ΔF = -k_BT \ln ⟨e^{-F_\text{vib}(σ)/k_BT}⟩,

        with the error from the draws' autocorrelation, or from the scatter of replicas. It rests on
        the softest draws: the effective size is at most that of their weights, (Σw)²/Σw², and
        where one of them has much of the weight (``largest_share``) the error is too small.

        Parameters
        ----------
        temperature
            In K; the one at which the occupations were drawn.
        statistics
            ``"quantum"`` or ``"classical"``.
        """
        values = self.vibrational(temperature, statistics).reshape(self.draws, self.chains)
        thermal = units.kB * float(temperature)
        if not np.isfinite(values).all():
            return summarize_series(values)
        lowest = values.min()
        weights = np.exp(-(values - lowest) / thermal)
        free = lowest - thermal * np.log(weights.mean())
        found = derived(float(free), -thermal * (weights / weights.mean() - 1.0))
        effective = min(found.ess, float(weights.sum() ** 2 / (weights**2).sum()))
        return found._replace(
            ess=effective, converged=bool(found.converged and effective >= MIN_ESS)
        )

    def largest_share(self, temperature: float, statistics: str = "quantum") -> float:
        """Part of the weight in `average` that the softest draw has; NaN at imaginary modes."""
        values = self.vibrational(temperature, statistics) / (units.kB * float(temperature))
        return float(1.0 / np.exp(values.min() - values).sum())

    def table(self) -> xr.Dataset:
        """Free energies in eV and entropies in k_B per cell, over (structure, temperature).

        The total ``free_energy`` is the quantum one with the energy of the minimum.
        """
        over = ("structure", "temperature")
        columns: dict[str, Any] = {}
        for statistics in STATISTICS:
            both = [self._functions(float(t), statistics) for t in self.temperatures]
            columns[f"vibrational_{statistics}"] = (
                over, np.stack([f for f, _ in both], axis=1), {"units": "eV per cell"},
            )  # fmt: skip
            columns[f"entropy_{statistics}"] = (
                over, np.stack([s for _, s in both], axis=1) / units.kB, {"units": "k_B per cell"},
            )  # fmt: skip
        total = columns["vibrational_quantum"][1] + self.energies[:, None]
        columns["free_energy"] = (over, total, {"units": "eV per cell"})
        per = ("structure",)
        columns["energy"] = (per, self.energies, {"units": "eV per cell"})
        columns["zero_point_energy"] = (per, self.zero_point_energy, {"units": "eV per cell"})
        columns["imaginary_modes"] = (per, self.imaginary)
        return xr.Dataset(columns, coords={"temperature": self.temperatures})

    def rows(self) -> list[dict[str, Any]]:
        """One flat row per structure and temperature, for CSV; None where there is no number."""
        table = self.table()
        names = [name for name in table.data_vars if "temperature" in table[name].dims]
        return [
            {
                "structure": n,
                "temperature": float(t),
                "energy": float(self.energies[n]),
                "imaginary_modes": int(self.imaginary[n]),
            }
            | {str(name): _number(table[name].values[n, k]) for name in names}
            for n in range(len(self.energies))
            for k, t in enumerate(self.temperatures)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the statement, rows, and how good the force constants are."""
        return {
            "statement": self.statement,
            "step_angstrom": self.step,
            "step_change": [_number(x) for x in self.step_change],
            "largest_asymmetry": float(self.asymmetry.max()),
            "largest_drift": float(self.drift.max()),
            "residual_forces": self.residual_forces.tolist(),
            "residual_energies": [_number(x) for x in self.residual_energies],
            "frequencies_THz": [[_number(x) for x in row] for row in self.frequencies],
            "rows": self.rows(),
        }

    @property
    def statement(self) -> str:
        """What was found, in sentences with numbers and caveats."""
        n, warm = len(self.energies), float(self.temperatures[-1])
        if self.imaginary.any():
            bad = int((self.imaginary > 0).sum())
            return (
                f"{bad} of {counted(n, 'structure')} {'has' if bad == 1 else 'have'} imaginary "
                f"modes (or modes below {SOFTEST} THz): a minimum has none, and there is no "
                "harmonic free energy."
            )
        said = (
            f"Harmonic vibrations of {counted(n, 'structure')} at the Γ point of the cell "
            f"({len(self.lattice.atoms)} positions), in eV per cell at {warm:g} K: "
        )
        values = self.vibrational(warm)
        said += f"{values.min():.3f}" + (f" to {values.max():.3f}" if n > 1 else "")
        if n > 1 and (np.ptp(self.lattice.counts(self.occupations), axis=0) == 0).all():
            mean = self.average(warm)
            said += (
                f" ({with_error(mean.mean, mean.error)} on exponential average, if they are draws)"
            )
        quantum = (values - self.vibrational(warm, "classical")).mean()
        said += f", quantum effects being {quantum:.3f} of it"
        said += f"; halving the displacement changes it by {1000 * self.step_change[-1]:.2f} meV."
        return said + " Waves longer than the cell and anharmonicity are left out."


def harmonic_free_energy(
    hamiltonian: Any,
    occupations: xr.DataArray | np.ndarray,
    temperatures: Sequence[float] | np.ndarray | float,
    positions: np.ndarray | None = None,
    cells: np.ndarray | None = None,
    *,
    step: float = STEP,
    fmax: float = FMAX,
    imaginary: str = "refuse",
) -> HarmonicFreeEnergy:
    r"""Harmonic vibrational free energy of occupations, at the Γ point of the supercell.

    Force constants are central differences of forces, 6 n_atoms force calls for each distinct
    occupation (as many again for the first, at half the step, to see whether it matters); the three
    translations are projected out. Masses are ASE's; a vacancy has none. See A. van de Walle and
    G. Ceder, Rev. Mod. Phys. 74, 11 (2002), doi:10.1103/RevModPhys.74.11.

    Parameters
    ----------
    hamiltonian
        A relaxed landscape (`Relaxed`), whose minima are taken, or an energy model of positions.
    occupations
        [n_sites], [n_replicas, n_sites] or [draw, chain, n_sites]: ordered arrangements, or draws
        of a run (a few dozen: each takes seconds to minutes; more than 1,000 are refused).
    temperatures
        In K.
    positions, cells
        Where the model is to be evaluated: [n_atoms, 3] or one for each occupation, Å. By default
        the minima of a relaxed landscape, or what the model is bound to.
    step
        Displacement in Å.
    fmax
        Largest force in eV/Å that may be left at the positions.
    imaginary
        ``"refuse"``, or ``"report"`` to get the frequencies of a saddle, without a free energy.

    Raises
    ------
    InputError
        If an argument cannot be used, or the energy changes when the crystal moves as a whole.
    ConvergenceError
        If an occupation has no minimum, a force is above ``fmax``, a mode is imaginary or slower
        than 0.05 THz, or force constants are not symmetric.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import AlchemicalMACE, Relaxed, builders
    >>> lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.3)
    >>> relaxed = Relaxed(AlchemicalMACE(lattice, "bundled", device="cpu"), cell="isotropic")
    >>> found = harmonic_free_energy(relaxed, np.array([0, 0, 0, 0]), [300.0])
    >>> found.quanta.shape, bool(0.01 < found.quanta.min() < 0.05)
    ((1, 21), True)
    """
    kelvin = _checked_temperatures(temperatures)
    for name, value in (("step", step), ("fmax", fmax)):
        if not is_number(value) or value <= 0:
            raise InputError(f"{name} is {value!r}; give a number above 0")
    if imaginary not in ("refuse", "report"):
        raise InputError(f'imaginary is {imaginary!r}; give "refuse" or "report"')
    lattice: Lattice = hamiltonian.lattice
    chains = as_chains(lattice, occupations)
    if chains.shape[0] * chains.shape[1] > MOST_STRUCTURES:
        raise InputError(
            f"{chains.shape[0] * chains.shape[1]} occupations are too many for a finite difference "
            f"of each (at most {MOST_STRUCTURES}): take every n-th draw"
        )
    rows = lattice.check(np.asarray(chains).reshape(-1, lattice.n_sites))
    model, places, boxes = _where(hamiltonian, rows, positions, cells)
    energies, pulls = forces(model, rows, places, boxes)
    atoms = [_atoms_there(lattice, row) for row in rows]
    if min(map(len, atoms)) < 2:
        raise InputError("a cell of one atom has no vibrations at Γ; repeat the lattice")
    residual = np.array(
        [np.linalg.norm(f[a], axis=1).max() for f, a in zip(pulls, atoms, strict=True)]
    )
    _check_residual(energies, residual, fmax)
    quanta = np.full((len(rows), 3 * max(map(len, atoms)) - 3), np.nan)
    left, asymmetry, drift = np.zeros((3, len(rows)))
    halved = np.full(len(kelvin), np.nan)
    first: dict[bytes, int] = {}
    for n, row in enumerate(rows):
        same = first.setdefault(row.tobytes() + places[n].tobytes() + boxes[n].tobytes(), n)
        if same < n:  # drawn before, and at the same minimum
            for column in (quanta, left, asymmetry, drift):
                column[n] = column[same]
            continue
        masses = atomic_masses[_numbers(lattice, row)[atoms[n]]]
        constants = force_constants(model, row, places[n], boxes[n], atoms[n], step)
        _check_constants(n, constants.asymmetry, constants.drift, step)
        asymmetry[n], drift[n] = constants.asymmetry, constants.drift
        own = modes_of(constants.matrix, masses)
        quanta[n, : len(own)] = own
        if own.min() < SOFTEST * TERAHERTZ:
            left[n] = np.nan
            if imaginary == "refuse":
                raise ConvergenceError(_about_imaginary(n, own))
            continue
        pull = pulls[n, atoms[n]].ravel()
        left[n] = 0.5 * pull @ np.linalg.pinv(constants.matrix, rcond=1e-6) @ pull
        if np.isnan(halved).all():
            finer = force_constants(model, row, places[n], boxes[n], atoms[n], step / 2)
            halved = _change(own, modes_of(finer.matrix, masses), kelvin)
    return HarmonicFreeEnergy(
        lattice, rows, chains.shape[0], chains.shape[1], kelvin, energies, quanta, residual, left,
        asymmetry, drift, float(step), halved,
    )  # fmt: skip


def _where(
    hamiltonian: Any, rows: np.ndarray, positions: np.ndarray | None, cells: np.ndarray | None
) -> tuple[Any, np.ndarray, np.ndarray]:
    """Model with forces, positions [n, n_atoms, 3] and cells [n, 3, 3] of every occupation."""
    lattice: Lattice = hamiltonian.lattice
    relaxes = hasattr(hamiltonian, "relaxed") and hasattr(hamiltonian, "hamiltonian")
    model = hamiltonian.hamiltonian if relaxes else hamiltonian
    if relaxes and positions is None and cells is None:
        minima = hamiltonian.relaxed(rows)
        if not minima.converged.all():
            n = int(np.argmin(minima.converged))
            raise ConvergenceError(
                f"occupation {n} has no minimum ({minima.problems[n]}): leave it out, or relax "
                "with more max_steps or another reference"
            )
        return model, minima.positions, minima.cells
    bound = getattr(model, "positions", lattice.atoms.positions) if positions is None else positions
    box = getattr(model, "cell", lattice.atoms.cell.array) if cells is None else cells
    shapes = ((len(lattice.atoms), 3), (3, 3))
    found = []
    for name, values, shape in zip(("positions", "cells"), (bound, box), shapes, strict=True):
        array = np.asarray(values, dtype=float)
        if array.shape not in (shape, (len(rows), *shape)) or not np.isfinite(array).all():
            raise InputError(
                f"{name} of shape {array.shape} are not finite numbers of shape {shape}, or "
                f"{(len(rows), *shape)} for one of each occupation"
            )
        found.append(np.array(np.broadcast_to(array, (len(rows), *shape))))
    return model, found[0], found[1]


def _checked_temperatures(kelvin: Any) -> np.ndarray:
    try:
        array = np.atleast_1d(np.asarray(kelvin, dtype=float))
    except (TypeError, ValueError):
        raise InputError(f"temperatures are {kelvin!r}; give numbers above 0 in K") from None
    if array.ndim != 1 or not len(array) or not (np.isfinite(array) & (array > 0)).all():
        raise InputError(f"temperatures are {array.tolist()}; give numbers above 0 in K")
    return array


def _check_residual(energies: np.ndarray, residual: np.ndarray, fmax: float) -> None:
    wrong = ~(np.isfinite(energies) & (residual <= fmax))
    if wrong.any():
        n = int(wrong.argmax())
        raise ConvergenceError(
            f"the largest force on occupation {n} is {residual[n]:.3g} eV/Å, above fmax = {fmax:g}:"
            " give Relaxed(hamiltonian, fmax=…), or positions at a minimum"
        )


def _check_constants(n: int, asymmetry: float, drift: float, step: float) -> None:
    if drift > MOST_ERROR:
        raise InputError(
            f"moving an atom of occupation {n} pushes the crystal as a whole (by {drift:.2g} of "
            "the largest force constant): the model ties atoms to places, so it has no vibrations "
            "of a free crystal"
        )
    if asymmetry > MOST_ERROR:
        raise ConvergenceError(
            f"force constants of occupation {n} are not symmetric (by {asymmetry:.2g} of the "
            f"largest): give a step below {step} Å, and float64"
        )


def _about_imaginary(n: int, quanta: np.ndarray) -> str:
    wrong = quanta[quanta < SOFTEST * TERAHERTZ] / TERAHERTZ
    named = few([f"{-w:.2f}i" if w < 0 else f"{w:.3f}" for w in wrong.tolist()], most=4)
    return (
        f"occupation {n} has {len(wrong)} imaginary (or vanishing) modes, {named} THz: it is no "
        "minimum; relax it from a displaced reference (Relaxed does by default), or see them with "
        'imaginary="report"'
    )


def _change(coarse: np.ndarray, fine: np.ndarray, kelvin: np.ndarray) -> np.ndarray:
    """Change of the quantum free energy from a displacement to half of it, [n_temperatures]."""
    if fine.min() <= 0:
        return np.full(len(kelvin), np.nan)
    return np.array(
        [thermodynamics(fine, t)[0] - thermodynamics(coarse, t)[0] for t in kelvin.tolist()]
    )


def _atoms_there(lattice: Lattice, occupation: np.ndarray) -> np.ndarray:
    return np.flatnonzero(_numbers(lattice, occupation) > 0)


def _numbers(lattice: Lattice, occupation: np.ndarray) -> np.ndarray:
    numbers = lattice.atoms.numbers.copy()
    numbers[lattice.sites] = lattice.atomic_numbers[np.arange(lattice.n_sites), occupation]
    return np.asarray(numbers)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
