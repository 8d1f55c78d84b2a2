"""Cluster expansions: icet's, or fitted to energies and gradients."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from ..errors import InputError
from ..lattice import VACANCY, Lattice
from ..structures import one_line
from ..sublattice import is_number, shown
from ..tiling import Tiling, tiling_from_primitive
from .interactions import Interaction
from .lattice_hamiltonian import LatticeHamiltonian

__all__ = ["ClusterExpansion", "FitReport"]


class FitReport(NamedTuple):
    """How well a fit describes its data.

    ``alpha``: the ridge penalty. ``energy_rmse``, ``gradient_rmse``: errors on the data fitted to,
    eV per site and eV. ``validation_rmse``: root mean square of the energies' errors in
    cross-validation, eV per site (NaN without). ``n_data``, ``n_parameters``: rows and columns.
    """

    alpha: float
    energy_rmse: float
    gradient_rmse: float
    validation_rmse: float
    n_data: int
    n_parameters: int


class ClusterExpansion(LatticeHamiltonian):
    """A cluster expansion in icet's basis, evaluated by compiled tables.

    Built by ``from_icet``, ``read`` or ``fit``. The energy of the cell is
    E = scaling · Σ_e p_e φ̄_e, with icet's parameters p and cluster vector φ̄.

    In a cell so small that a cluster meets its own image, the energy is that of the periodic
    crystal, as icet's cluster vector gives it; changes and gradients are those of that energy.

    Attributes
    ----------
    cluster_space
        icet's ``ClusterSpace``.
    parameters
        float64 [n_parameters], in icet's order.
    scaling
        Factor of the expansion's value; the number of its atoms in the cell by default, as in
        mchammer.
    report
        How well a fit describes its data; None if the expansion was not fitted here.
    """

    cluster_space: Any
    parameters: np.ndarray
    scaling: float
    report: FitReport | None

    @classmethod
    def from_icet(
        cls,
        ce: Any,
        lattice: Lattice,
        *,
        scaling: float | None = None,
        threads: int | None = None,
    ) -> ClusterExpansion:
        """Take over an ``icet.ClusterExpansion``.

        Parameters
        ----------
        ce
            Any expansion of icet: several species, sublattices and orders of clusters.
        lattice
            A supercell of its primitive structure with the same species on the same sites.
        scaling
            Factor of the expansion's value (eV per atom or per cell …) that makes it the energy of
            the cell in eV; by default the number of atoms that the expansion's structure has in
            the cell, vacant sites included.
        threads
            Threads over which replicas are spread; by default the processor's.

        Raises
        ------
        InputError
            If the cell is no whole number of the expansion's primitive cells, or sites or species
            differ.
        """
        if not hasattr(ce, "get_cluster_space_copy"):
            raise InputError(
                f"{shown(ce)} is no icet.ClusterExpansion; give one, or the path of a .ce file to "
                "ClusterExpansion.read"
            )
        return cls._build(
            ce.get_cluster_space_copy(),
            np.asarray(ce.parameters, dtype=float),
            lattice,
            scaling=scaling,
            threads=threads,
        )

    @classmethod
    def read(
        cls, path: str | Path, lattice: Lattice, *, trust: bool = False, **options: Any
    ) -> ClusterExpansion:
        """Read a ``.ce`` file of icet.

        Parameters
        ----------
        path
            The file. icet stores parts of it as pickles, which can run code.
        lattice, options
            As for ``from_icet``.
        trust
            Say that the file comes from a source you trust.

        Raises
        ------
        InputError
            If the file is not trusted, is missing, or is none of icet's.
        """
        if not Path(path).is_file():
            raise InputError(f"no cluster expansion {path}; give the path of a .ce file of icet")
        if not trust:
            raise InputError(
                f"{path} may hold pickled parts, which can run code: give trust=True if you trust "
                "its source"
            )
        from icet import ClusterExpansion as IcetExpansion  # noqa: PLC0415

        try:
            ce = IcetExpansion.read(str(path))
        except Exception as error:
            raise InputError(
                f"{path} is no cluster expansion of icet ({one_line(error)}); give a file that "
                "icet's ClusterExpansion.write made"
            ) from error
        return cls.from_icet(ce, lattice, **options)

    @classmethod
    def _build(
        cls,
        cluster_space: Any,
        parameters: np.ndarray,
        lattice: Lattice,
        *,
        scaling: float | None,
        threads: int | None,
        field: np.ndarray | None = None,
        report: FitReport | None = None,
    ) -> ClusterExpansion:
        basis = _Basis(cluster_space, lattice)
        if scaling is None:
            scaling = float(basis.n_cells * len(cluster_space.primitive_structure))
        elif not is_number(scaling):
            raise InputError(f"scaling is {shown(scaling)}; give a finite number")
        constant, interactions = basis.interactions(scaling * parameters)
        self = cls.__new__(cls)
        LatticeHamiltonian.__init__(
            self, lattice, basis.tiling, interactions,
            constant=constant, field=field, threads=threads,
        )  # fmt: skip
        self.cluster_space, self.parameters = cluster_space, parameters
        self.scaling, self.report = float(scaling), report
        return self

    def cluster_vectors(self, occupations: np.ndarray) -> np.ndarray:
        """Cluster vectors of icet, float64 [n_replicas, n_parameters], of [n_replicas, n_sites].

        Raises
        ------
        InputError
            If the lattice's spectators are not those of the expansion.
        """
        occupations = self.lattice.check(occupations)
        replicas = np.atleast_2d(occupations)
        vectors = [self.cluster_space.get_cluster_vector(self._icet_atoms(o)) for o in replicas]
        return np.array(vectors).reshape((*occupations.shape[:-1], -1))

    def _icet_atoms(self, occupation: np.ndarray) -> Atoms:
        """Return the structure of an occupation with the atoms that the expansion knows."""
        atoms = full_atoms(self.lattice, occupation)
        space = self.cluster_space
        n_cells = self.lattice.n_sites // len(self.tiling.basis)
        n_known = len(space.primitive_structure) * n_cells
        n_mixed = sum(len(symbols) > 1 for symbols in space.chemical_symbols)
        if n_known == n_mixed * n_cells:  # an expansion without spectators
            return atoms[np.asarray(self.lattice.sites)[self.tiling.kinds < n_mixed]]
        if n_known != len(atoms):
            raise InputError(
                f"the lattice has {len(atoms)} atoms but the expansion's structure {n_known} in "
                "this cell: give both the same spectators for cluster vectors"
            )
        return atoms

    def to_icet(self) -> Any:
        """Return the expansion as an ``icet.ClusterExpansion``.

        Raises
        ------
        InputError
            If it has energies of single sites that icet's cannot hold.
        """
        from icet import ClusterExpansion as IcetExpansion  # noqa: PLC0415

        if len(self.tables.field):
            raise InputError(
                "an expansion with a field of its own on every site has no form in icet; fit it "
                "without site_field to write it"
            )
        return IcetExpansion(self.cluster_space, self.parameters)

    @classmethod
    def fit(
        cls,
        cluster_space: Any,
        lattice: Lattice,
        occupations: np.ndarray,
        energies: np.ndarray,
        gradients: np.ndarray | None = None,
        *,
        site_field: bool = False,
        gradient_weight: float = 1.0,
        alphas: Sequence[float] = tuple(np.logspace(-8, 2, 21)),
        folds: int = 5,
        threads: int | None = None,
    ) -> ClusterExpansion:
        """Fit parameters to energies and, if given, alchemical gradients, by ridge regression.

        The penalty is chosen by cross-validation over the configurations. A row of the gradient
        enters as the flip energy h[i, k] = g[i, k] − g[i, σ_i] with a constant per sublattice and
        species pair of its own, which takes up the self curvature of the energy along a flip.

        Parameters
        ----------
        cluster_space
            icet's ``ClusterSpace``, which names the orbits.
        lattice
            The supercell of all data.
        occupations
            [n_data, n_sites].
        energies
            [n_data], eV per cell.
        gradients
            ∂E/∂λ, [n_data, n_sites, n_species_max] in eV.
        site_field
            Give every site an energy of its own for every species besides the orbits.
        gradient_weight
            Weight of one flip energy beside that of one energy divided by √n_sites, above 0. Where
            flips are described less well than energies, 0.1 or less gives the better energies:
            compare ``report.validation_rmse``.
        alphas
            Penalties to choose from, relative to the mean square of the columns.
        folds
            Parts of the cross-validation; every configuration is one where there are fewer. With
            1 there is none, and the first penalty is taken.
        threads
            As for ``from_icet``.

        Raises
        ------
        InputError
            If shapes disagree, numbers are not finite, settings cannot be used, or there are fewer
            than 2 configurations.
        """
        from ._cluster_fit import fit_parameters  # noqa: PLC0415

        basis = _Basis(cluster_space, lattice)
        parameters, field, report = fit_parameters(
            basis, lattice, occupations, energies, gradients,
            site_field=site_field, gradient_weight=gradient_weight, alphas=alphas, folds=folds,
        )  # fmt: skip
        return cls._build(
            cluster_space, parameters / len(lattice.atoms), lattice,
            scaling=float(len(lattice.atoms)), threads=threads, field=field, report=report,
        )  # fmt: skip


def full_atoms(lattice: Lattice, occupation: np.ndarray) -> Atoms:
    """Return the structure with vacancies as ASE's ``"X"``, which icet counts as a species."""
    atoms = lattice.atoms.copy()
    numbers = atoms.numbers.copy()
    numbers[lattice.sites] = lattice.atomic_numbers[np.arange(lattice.n_sites), occupation]
    atoms.numbers = numbers
    return atoms


class _Basis:
    """icet's clusters and point functions on the sites of a lattice."""

    def __init__(self, cluster_space: Any, lattice: Lattice) -> None:
        self.space = cluster_space
        self.n_parameters = len(cluster_space)
        primitive = cluster_space.primitive_structure
        allowed = cluster_space.chemical_symbols
        active = [n for n, symbols in enumerate(allowed) if len(symbols) > 1]
        self._kind_of_index = {index: kind for kind, index in enumerate(active)}
        tolerance = max(1e-3, float(cluster_space.position_tolerance))
        cell, basis = primitive.cell.array, primitive.positions[active]
        basis = np.concatenate([basis, _single_sites(lattice, cell, basis, tolerance)])
        self.tiling: Tiling = tiling_from_primitive(lattice, cell, basis, tolerance)
        self.n_cells = lattice.n_sites // len(basis)
        self._functions = [
            _point_functions(cluster_space, index, lattice, self._site_of(kind))
            for kind, index in enumerate(active)
        ]

    def _site_of(self, kind: int) -> int:
        return int(self.tiling.first_sites[kind])

    def interactions(self, parameters: np.ndarray) -> tuple[float, list[Interaction]]:
        """Constant and clusters of the energy Σ_e p_e φ̄_e."""
        interactions: list[Interaction] = []
        for orbit_index in range(len(self.space.orbit_list.orbits)):
            orbit = self.space.orbit_list.get_orbit(orbit_index)
            columns = self._columns[orbit_index]
            if not np.any(parameters[columns]):
                continue
            for kinds, cells in self._clusters(orbit):
                table = self._table(orbit, kinds, parameters[columns])
                interactions.append(Interaction(kinds, cells, table))
        return float(parameters[0]), interactions

    @property
    def _columns(self) -> list[list[int]]:
        columns: list[list[int]] = [[] for _ in self.space.orbit_list.orbits]
        for entry in self.space.as_list:
            if entry["orbit_index"] >= 0:
                columns[entry["orbit_index"]].append(entry["index"])
        return columns

    def _clusters(self, orbit: Any) -> list[tuple[tuple[int, ...], np.ndarray]]:
        found = []
        for cluster in orbit.clusters:
            sites = cluster.lattice_sites
            kinds = tuple(self._kind_of_index[s.index] for s in sites)
            found.append((kinds, np.array([s.unitcell_offset for s in sites], dtype=np.int64)))
        return found

    def _table(self, orbit: Any, kinds: tuple[int, ...], parameters: np.ndarray) -> np.ndarray:
        """Energy of one cluster by the species on its sites, in eV."""
        table = np.zeros([len(self._functions[k]) for k in kinds])
        for value, element in zip(parameters, orbit.cluster_vector_elements, strict=True):
            share = value / (self.n_cells * element["multiplicity"])
            for permutation in element["site_permutations"]:
                functions = [element["multicomponent_vector"][n] for n in permutation]
                product = np.array(share)
                for kind, function in zip(kinds, functions, strict=True):
                    product = np.multiply.outer(product, self._functions[kind][:, function])
                table += product
        return table


def _single_sites(
    lattice: Lattice, cell: np.ndarray, mixed: np.ndarray, tolerance: float
) -> np.ndarray:
    """One site of every kind that holds a single species, [n, 3] in Å: no cluster has any of them.

    Those at the expansion's ``mixed`` sites are left out, since the species differ there; so are
    kinds beyond the number that undisplaced sites make.
    """
    inverse = np.linalg.inv(cell)

    def elsewhere(positions: np.ndarray, origin: np.ndarray) -> np.ndarray:
        scaled = (positions - origin) @ inverse
        away = np.linalg.norm((scaled - np.round(scaled)) @ cell, axis=1)
        return np.asarray(positions[away >= tolerance])

    single = np.asarray(lattice.allowed).sum(axis=1) == 1
    left = lattice.atoms.positions[lattice.sites][single]
    for origin in mixed:
        left = elsewhere(left, origin)
    n_cells = max(1, round(lattice.atoms.cell.volume / abs(np.linalg.det(cell))))
    most = -(-len(left) // n_cells)
    found: list[np.ndarray] = []
    while len(left) and len(found) < most:
        found.append(left[0])
        left = elsewhere(left, found[-1])
    return np.array(found).reshape(-1, 3)


def _point_functions(space: Any, index: int, lattice: Lattice, site: int) -> np.ndarray:
    """Value of every point function for every species of a site, [n_species, n_species − 1]."""
    species = lattice.species_of(site)
    known = space.species_maps[index]
    numbers = [0 if s == VACANCY else atomic_numbers[s] for s in species]
    if set(numbers) != set(known):
        named = ", ".join(sorted(chemical_symbols[z] for z in known))
        raise InputError(
            f"site {site} holds {', '.join(species)} on the lattice but {named} in the cluster "
            "expansion: give both the same species"
        )
    m = len(species)
    return np.array(
        [[space.evaluate_cluster_function(m, f, known[z]) for f in range(m - 1)] for z in numbers]
    )


def pair_types(lattice: Lattice) -> list[tuple[int, int, int]]:
    """(sublattice, species held, species to become) of every flip."""
    return [
        (s, a, b)
        for s, name in enumerate(lattice.names)
        for a, b in itertools.permutations(range(len(lattice.sublattices[name].species)), 2)
    ]
