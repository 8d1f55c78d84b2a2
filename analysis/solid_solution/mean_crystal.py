"""The mean crystal: cell and positions that minimise E(λ) at a composition, and what follows.

With the enthalpy-like G(λ, f) = min [E(λ) + f q] over positions and cell, q a quantity of the cell,
∂G/∂f = q and ∂G/∂λ = ∂E/∂λ at the minimum, so that ∂q/∂λ = ∂g/∂f: how a relaxed volume moves with
composition is how the alchemical gradient g moves with pressure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.filters import UnitCellFilter
from ase.optimize import BFGS
from ase.units import GPa

from ...compositions import Composition
from ...errors import AlchemcError, ConvergenceError, InputError, ModelError
from ...lattice import Lattice
from ...sublattice import is_number, is_whole, shown, suggestion
from .geometry import CELL_QUANTITIES, Conventional, conventional

__all__ = ["CELLS", "PROPERTIES", "MeanCrystal", "Settings", "evaluate", "mean_crystal"]

CELLS = ("isotropic", "full")
PROPERTIES = (*CELL_QUANTITIES, "energy", "bulk_modulus")
UNITS = {"lattice_parameter": "Å", "c": "Å", "volume": "Å³", "energy": "eV", "bulk_modulus": "GPa"}


@dataclass(frozen=True)
class MeanCrystal:
    """A crystal with the same λ on all sites of a group, relaxed; made by `mean_crystal`.

    ``lam`` [n_sites, n_species_max]; ``energy`` in eV, ``volume`` in Å³, ``cell`` [3, 3] and
    ``positions`` [n_atoms, 3] in Å, all of the lattice's supercell; ``lengths`` a, b and c of the
    conventional cell and ``lattice_parameter`` in Å; ``bulk_modulus`` in GPa, NaN where it was not
    asked for. ``gradients``: by property its derivative by λ, [n_sites, n_species_max], other
    coordinates relaxed; only differences between the species of a site matter. ``calls`` counts
    evaluations of the model, ``mixing`` is the rule and ``cell_kind`` what was relaxed of the cell.
    """

    lattice: Lattice
    lam: np.ndarray
    mixing: str
    cell_kind: str
    energy: float
    volume: float
    cell: np.ndarray
    positions: np.ndarray
    lengths: np.ndarray
    lattice_parameter: float
    bulk_modulus: float
    calls: int
    gradients: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def c(self) -> float:
        """Length of the conventional cell's third axis in Å."""
        return float(self.lengths[2])

    def value(self, name: str) -> float:
        """Return one of ``PROPERTIES`` by its name."""
        return float(getattr(self, name))


class Settings(NamedTuple):
    """How a mean crystal is relaxed: see `mean_crystal`."""

    mixing: str = "sites"
    cell: str = "isotropic"
    fmax: float = 1e-5
    pressure_step: float = 1.0
    max_steps: int = 500

    def checked(self, hamiltonian: Any) -> Settings:
        """Return the settings themselves, or say in one line what cannot be used.

        Raises
        ------
        InputError
            For a number out of range, or a model without ``mixed_energy`` and ``at``.
        """
        if not (hasattr(hamiltonian, "mixed_energy") and hasattr(hamiltonian, "at")):
            raise InputError(
                f"{type(hamiltonian).__name__} has no mixed_energy and at, so it has no mean "
                "crystal to relax; give an energy model of positions such as AlchemicalMACE"
            )
        if self.cell not in CELLS:
            raise InputError(f'cell is {shown(self.cell)}; give "isotropic" or "full"')
        for name in ("fmax", "pressure_step"):
            value = getattr(self, name)
            if not is_number(value) or value <= 0:
                raise InputError(f"{name} is {shown(value)}; give a number above 0")
        if not is_whole(self.max_steps, least=1):
            raise InputError(f"max_steps is {shown(self.max_steps)}; give a whole number above 0")
        return self


def mean_crystal(
    hamiltonian: Any,
    composition: Composition | None = None,
    *,
    gradients: Sequence[str] = (),
    mixing: str = "sites",
    cell: str = "isotropic",
    fmax: float = 1e-5,
    pressure_step: float = 1.0,
    max_steps: int = 500,
) -> MeanCrystal:
    r"""Relax E(λ) with every site at its sublattice's mean composition.

    The bulk modulus is B = −V (∂V/∂P)⁻¹ from relaxations at ± ``pressure_step``, atoms (and with
    ``cell="full"`` the shape) following. Derivatives by the composition come from the same
    relaxations, g being ∂E/∂λ at their minima:

    .. math:: \frac{dV}{dλ} = \frac{∂g}{∂P}, \qquad
        \frac{dB}{dλ} = -\frac{V_λ}{V_P} + \frac{V V_{Pλ}}{V_P^2}, \quad
        V_{Pλ} = \frac{∂^2 g}{∂P^2},

    which is the implicit derivative −E_VV⁻¹ E_Vλ of the relaxed volume, all other coordinates
    eliminated. Lengths have a load of their own in place of P where the shape is relaxed.

    Parameters
    ----------
    hamiltonian
        Energy model with ``mixed_energy`` and ``at``; the positions and cell that it is bound to
        are the start. A symmetry of the start is kept: displace atoms to break it.
    composition
        Fractions by sublattice; the lattice's nominal composition by default.
    gradients
        Names of the properties whose derivatives by λ are wanted: ``"lattice_parameter"``, ``"c"``,
        ``"volume"``, ``"energy"``, ``"bulk_modulus"``.
    mixing
        Rule of ``mixed_energy``: ``"sites"``, or ``"paper"`` where the model has it.
    cell
        ``"isotropic"``: the volume at the start's shape; ``"full"``: all of the cell.
    fmax
        Largest gradient in eV/Å at which the crystal is relaxed; a strain counts √n_atoms Å.
    pressure_step
        In GPa, for the finite differences.
    max_steps
        Steps after which a relaxation is given up.

    Raises
    ------
    InputError
        If the model or an argument cannot be used.
    ConvergenceError
        If a relaxation does not converge.

    Examples
    --------
    >>> from alchemc import AlchemicalMACE, builders
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.0)
    >>> mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    >>> found = mean_crystal(mace, {"B": {"Ti": 0.5, "Zr": 0.5}}, gradients=["lattice_parameter"])
    >>> slope = found.gradients["lattice_parameter"][0] @ [-1.0, 1.0]  # Zr in place of Ti
    >>> 3.9 < found.lattice_parameter < 4.2, bool(0.1 < slope < 0.5), found.bulk_modulus > 100.0
    (True, True, True)
    """
    settings = Settings(mixing, cell, fmax, pressure_step, max_steps).checked(hamiltonian)
    for name in gradients:
        if name not in PROPERTIES:
            raise InputError(f"no property is called {name!r}; {suggestion(name, PROPERTIES)}")
    lattice: Lattice = hamiltonian.lattice
    lam = lattice.mean_weights(composition)
    return evaluate(hamiltonian, lam, settings, [*gradients, "bulk_modulus"])


def evaluate(
    hamiltonian: Any,
    lam: np.ndarray,
    settings: Settings,
    wanted: Sequence[str],
    start: MeanCrystal | None = None,
) -> MeanCrystal:
    """Relax E(λ) at any λ, with the gradients of what is wanted and the bulk modulus among it.

    ``start`` is a crystal to relax from, in place of what the model is bound to.
    """
    lattice: Lattice = hamiltonian.lattice
    shape = conventional(lattice)
    relaxation = _Relaxation(hamiltonian, lam, settings, shape, start)
    rest = relaxation.at_load("volume", 0.0)
    volume = shape.value("volume", rest.cell)
    gradients: dict[str, np.ndarray] = {}
    if "energy" in wanted:
        gradients["energy"] = rest.gradient
    scaling = settings.cell == "isotropic"
    lengths = [name for name in ("lattice_parameter", "c") if name in wanted]
    modulus = np.nan
    if {"volume", "bulk_modulus"} & set(wanted) or (scaling and lengths):
        pressure = settings.pressure_step * GPa
        low, high = (relaxation.at_load("volume", sign * pressure) for sign in (-1.0, 1.0))
        three = low, rest, high
        by_pressure, _ = _derivatives(three, [one.volume for one in three])
        modulus = -volume / by_pressure
        slope, bend = _derivatives(three, [one.gradient for one in three])
        gradients["volume"] = slope
        gradients["bulk_modulus"] = (volume * bend / by_pressure - slope) / by_pressure / GPa
    for name in lengths:
        value = shape.value(name, rest.cell)
        if scaling:  # all lengths go with the cube root of the volume
            gradients[name] = value * gradients["volume"] / (3 * volume)
            continue
        # The force on an axis that a pressure would exert, on each that is alike.
        load = settings.pressure_step * GPa * volume / value
        low, high = (relaxation.at_load(name, sign * load) for sign in (-1.0, 1.0))
        gradients[name] = (high.gradient - low.gradient) / (2 * load)
    return MeanCrystal(
        lattice=lattice,
        lam=lam,
        mixing=settings.mixing,
        cell_kind=settings.cell,
        energy=rest.energy,
        volume=volume,
        cell=rest.cell,
        positions=rest.positions,
        lengths=shape.lengths(rest.cell),
        lattice_parameter=shape.value("lattice_parameter", rest.cell),
        bulk_modulus=float(modulus) / GPa,
        calls=relaxation.calls,
        gradients={name: gradients[name] for name in wanted},
    )


class _Rest(NamedTuple):
    """A minimum: energy without the load in eV, ∂E/∂λ, volume, pressure, cell and positions."""

    energy: float
    gradient: np.ndarray
    volume: float
    pressure: float
    cell: np.ndarray
    positions: np.ndarray


def _derivatives(points: Sequence[_Rest], values: Sequence[Any]) -> tuple[Any, Any]:
    """First and second derivative by the pressure, at the middle one of three minima.

    By the pressures that the minima have, which differ from the loads by what is left of the
    gradient: a second difference would make much of it.
    """
    below, above = np.diff([one.pressure for one in points])
    low, high = (values[1] - values[0]) / below, (values[2] - values[1]) / above
    first = (above * low + below * high) / (above + below)
    return first, 2.0 * (high - low) / (above + below)


class _Loaded(Calculator):
    """E(λ) + f q for ASE's optimisers, q a quantity of the cell and f its load."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012  (as ASE has it)

    def __init__(self, relaxation: _Relaxation, quantity: str, load: float) -> None:
        super().__init__()
        self._of, self._quantity, self._load = relaxation, quantity, load
        self.last: Any = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        assert atoms is not None  # noqa: S101
        of, cell = self._of, atoms.cell.array
        of.calls += 1
        model = of.hamiltonian.at(atoms.positions, cell)
        found = model.mixed_energy(of.lam, forces=True, stress=True, mixing=of.settings.mixing)
        stress = found.stress
        energy = found.energy
        if self._load:
            energy += self._load * of.shape.value(self._quantity, cell)
            pull = self._load * of.shape.by_strain(self._quantity, cell)
            stress = stress + pull / abs(np.linalg.det(cell))
        self.last = found
        self.results = {
            "energy": energy,
            "forces": found.forces,
            "stress": stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]],
        }


class _Relaxation:
    """Minimisation of E(λ) under loads, each from the last minimum without one."""

    def __init__(
        self,
        hamiltonian: Any,
        lam: np.ndarray,
        settings: Settings,
        shape: Conventional,
        start: MeanCrystal | None,
    ) -> None:
        self.hamiltonian, self.lam, self.settings, self.shape = hamiltonian, lam, settings, shape
        self.calls = 0
        self._atoms = hamiltonian.lattice.atoms.copy()
        if start is not None:
            self._place(start.cell, start.positions)
        elif hasattr(hamiltonian, "positions"):
            self._place(hamiltonian.cell, hamiltonian.positions)

    def _place(self, cell: np.ndarray, positions: np.ndarray) -> None:
        self._atoms.set_cell(cell, scale_atoms=False)
        self._atoms.set_positions(positions)

    def at_load(self, quantity: str, load: float) -> _Rest:
        """Minimum under a load; without one it is where the next ones start."""
        atoms = self._atoms.copy()
        atoms.calc = _Loaded(self, quantity, load)
        scale = float(np.sqrt(len(atoms)))  # then a strain is about as stiff as an atom
        strained = UnitCellFilter(
            atoms, hydrostatic_strain=self.settings.cell == "isotropic", cell_factor=scale
        )
        try:
            done = BFGS(strained, logfile=None).run(  # type: ignore[arg-type]  # filters move too
                fmax=self.settings.fmax, steps=self.settings.max_steps
            )
        except AlchemcError as error:
            raise ModelError(f"the mean crystal cannot be relaxed: {error}") from error
        if not done:
            left = float(np.linalg.norm(strained.get_forces(), axis=1).max())
            raise ConvergenceError(
                f"the mean crystal is not relaxed after {self.settings.max_steps} steps (largest "
                f"gradient {left:.2g} eV/Å): start nearer to the minimum, or raise fmax"
            )
        atoms.get_forces()  # of the last point, should it not be the one evaluated last
        if not load:
            self._atoms = atoms.copy()
        found, cell = atoms.calc.last, atoms.cell.array.copy()
        volume, pressure = self.shape.value("volume", cell), -float(np.trace(found.stress)) / 3.0
        return _Rest(found.energy, found.gradient, volume, pressure, cell, atoms.positions.copy())
