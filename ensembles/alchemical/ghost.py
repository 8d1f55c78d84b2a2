"""A vacancy by a path: one atom loses its interactions while a spring takes hold of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from ...errors import InputError
from ...potentials.calculator import check_positional
from ...solid_records import RemovedAtom
from ...sublattice import VACANCY, is_number, is_whole, shown
from ..dynamics.crystal import Structures
from ._ends import Found, Places
from .alchemical_path import AlchemicalPath
from .groups import Groups
from .paths import places_of

__all__ = ["VacancyPath"]


class VacancyPath(AlchemicalPath):
    r"""One atom of a crystal turns into a harmonic ghost.

    .. math:: U_s(x) = E\big(λ(s), x\big) + s\,\frac{κ}{2} |r − r⁰|²

    where λ(s) takes the atom's site from its species to a vacancy. At s = 1 the crystal lacks the
    atom, and an oscillator stands beside it that knows nothing of it: its closed form is taken away
    by ``analysis.VacancyFormation``. The atom keeps its mass throughout, and the centre of the
    atoms that are never vacant is held at both ends.

    Parameters
    ----------
    hamiltonian
        Energy model of positions and of vacancies, such as `AlchemicalCHGNet`.
    site
        Index of the lattice's site, which may hold the atom and a vacancy (``"X"``).
    symbol
        The atom's element.
    spring
        κ in eV/Å²; about as stiff as the crystal holds the atom, 3 k_BT/⟨u²⟩
        (`spring_constants`), so that it is not to be brought back from afar.
    place
        r⁰ in Å, [3]; the lattice's place of the site by default. Where the crystal holds the atom
        on average is the better one.
    mixing
        ``"sites"``: by the energy model's λ; ``"energies"``: between the energies of both ends.

    Raises
    ------
    InputError
        If the site does not exist, may not be vacant or not hold the element, or a number is out of
        range.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from alchemc import AlchemicalCHGNet, Lattice, Sublattice
    >>> atoms = bulk("Fe", "bcc", a=2.85, cubic=True) * (2, 2, 2)
    >>> lattice = Lattice(atoms, {"site": Sublattice((0,), ("Fe", "X"))})
    >>> path = VacancyPath(AlchemicalCHGNet(lattice, device="cpu"), 0, "Fe", spring=5.0)
    >>> path.label, path.record(300.0).mass
    ('site 0: Fe → X', 55.845)
    """

    def __init__(
        self,
        hamiltonian: Any,
        site: int,
        symbol: str,
        spring: float,
        place: np.ndarray | None = None,
        *,
        mixing: str = "sites",
    ) -> None:
        lattice = hamiltonian.lattice
        if not is_whole(site, least=0) or site >= lattice.n_sites:
            raise InputError(f"site is {shown(site)}; give one of 0 to {lattice.n_sites - 1}")
        if VACANCY not in lattice.species_of(int(site)):
            raise InputError(
                f"site {site} may hold {', '.join(lattice.species_of(int(site)))}: give its "
                f'sublattice the species "{VACANCY}" as well'
            )
        if not is_number(spring) or not 0 < spring < np.inf:
            raise InputError(f"spring is {shown(spring)}; give eV/Å² above 0")
        groups = Groups.of(lattice, {f"site {site}": [int(site)]})
        super().__init__(hamiltonian, groups, symbol, VACANCY, mixing)
        self.symbol, self.spring = symbol, float(spring)
        self.atom = int(lattice.sites[site])
        known = lattice.atoms.positions[self.atom] if place is None else place
        try:
            self.place = np.array(known, dtype=np.float64)
        except (TypeError, ValueError):
            self.place = np.empty(0)
        if self.place.shape != (3,) or not np.isfinite(self.place).all():
            raise InputError(f"place is {shown(place)}; give three finite numbers in Å")

    def record(self, temperature: float) -> RemovedAtom:
        """Return the numbers that the ghost's free energy follows from.

        Parameters
        ----------
        temperature
            In K.
        """
        mass = float(atomic_masses[atomic_numbers[self.symbol]])
        return RemovedAtom(self.symbol, mass, self.spring, float(temperature))

    def check_moving(self) -> None:
        """Refuse models without forces."""
        check_positional(self.hamiltonian)

    def found(
        self,
        s: float,
        occupations: np.ndarray,
        places: Places,
        *,
        forces: bool = False,
        slope: bool = False,
    ) -> Found:
        """U_s of replicas, and what else is wanted.

        Raises
        ------
        InputError
            If positions do not move: the ghost would have none.
        """
        base = super().found(s, occupations, places, forces=forces, slope=slope)
        held, pull = self._spring(places)
        found = base._replace(energy=base.energy + s * held)
        if base.slope is not None:
            found = found._replace(slope=base.slope + held)
        if base.forces is not None:
            pushed = base.forces.copy()
            pushed[:, self.atom] += s * pull
            found = found._replace(forces=pushed)
        return found

    def energies(self, couplings: np.ndarray, structures: Structures) -> np.ndarray:
        """U of every configuration at every coupling [l], [n, l] in eV."""
        found = super().energies(couplings, structures)
        if not self.linear:  # made of ``found``, which has the spring
            return found
        return found + self._spring(places_of(structures))[0][:, None] * np.asarray(couplings)

    def _spring(self, places: Places) -> tuple[np.ndarray, np.ndarray]:
        """Energies [n] of the ghost's full spring, and its forces [n, 3]."""
        if places is None:
            raise InputError("a ghost moves: give the path a dynamics of positions")
        away = places[0][:, self.atom] - self.place
        return 0.5 * self.spring * (away**2).sum(axis=1), -self.spring * away
