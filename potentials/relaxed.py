"""The relaxed landscape: the energy of an occupation at the minimum over positions and cell."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from ase import units

from ..errors import AlchemcError, InputError, ModelError
from ..lattice import Lattice
from ..sublattice import is_number, is_whole, shown
from ._minimise import Coordinates, Minimum, minimise
from .alchemical import MEMORY, with_changes
from .memory import Memory

__all__ = ["Failures", "Relaxation", "Relaxed", "Spread"]

SHARE = 0.1  # of k_B T, that an energy may be off by
SOFTEST = 0.01  # eV/Å², the least curvature that a start is to be held up by
TEMPERATURE, HOTTEST = 300.0, 1000.0
MAX_STEPS = 1000
LISTED = 8


class Positional(Protocol):
    """An energy model that can be bound to positions and has forces there."""

    lattice: Lattice

    def at(self, positions: np.ndarray, cell: np.ndarray) -> Any:
        """Return the same model at other positions and cell."""
        ...

    def energy_forces_stress(
        self, occupations: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Energies [n], forces [n, n_atoms, 3] and stress [n, 3, 3]."""
        ...


class Relaxation(NamedTuple):
    """Minima of occupations; every field leads with their axes.

    ``energies`` in eV, +inf where there is no minimum; ``positions`` [n_atoms, 3] and ``cells``
    [3, 3] in Å; ``residuals``: largest force left in eV/Å (the cell's counted as one);
    ``force_calls`` int64, over all references; ``references`` int64, which of them led to the
    minimum; ``converged`` bool; ``problems``: why there is no minimum, empty where there is one.
    """

    energies: np.ndarray
    positions: np.ndarray
    cells: np.ndarray
    residuals: np.ndarray
    force_calls: np.ndarray
    references: np.ndarray
    converged: np.ndarray
    problems: np.ndarray


class Spread(NamedTuple):
    """Relaxed energies in eV of what ought to be the same.

    ``by_reference`` [n, k]: one occupation from different references; ``by_equivalent`` [n, m]:
    occupations equivalent by symmetry. NaN where there is no minimum, or no further arrangement.
    ``over_references`` and ``over_equivalents`` [n] are their standard deviations.
    """

    by_reference: np.ndarray
    by_equivalent: np.ndarray

    @property
    def over_references(self) -> np.ndarray:
        """Standard deviation over references, [n] in eV."""
        return _deviation(self.by_reference)

    @property
    def over_equivalents(self) -> np.ndarray:
        """Standard deviation over equivalent occupations, [n] in eV."""
        return _deviation(self.by_equivalent)


class Failures(NamedTuple):
    """Energies that were asked for and that no minimum was found for.

    ``number`` of them; ``occupations`` [k, n_sites], the first few distinct ones, and their
    ``problems``.
    """

    number: int
    occupations: np.ndarray
    problems: tuple[str, ...]


class Relaxed:
    r"""The energy of an occupation at the nearest minimum over positions, and cell if asked for.

    .. math:: E_\text{rel}(σ) = \min_{R, h} E(σ, R, h)

    in the basin that a stored start leads to. E_rel must be a function of σ alone, or the sampler's
    detailed balance breaks. So every minimisation starts from the same positions, the *reference*:
    those that ``hamiltonian`` is bound to, displaced by Gaussian numbers that depend on the seed
    and the atom alone; never from where the last one ended. (At undisplaced positions symmetry
    holds a crystal on a saddle.) Every structure has its own optimiser, so that neither the batch
    nor what was evaluated before changes a minimum, bit for bit. With several ``references`` all
    are relaxed every time and the lowest minimum is taken. Equivalent occupations meet different
    displacements: how far their energies differ, and how far the reference matters, is measured by
    :meth:`spread`.

    By the envelope theorem ∂E_rel/∂λ = ∂E/∂λ at the relaxed positions; where a residual force F is
    left, K being ∂²E/∂R², energy and gradient are off by

    .. math:: E − E_\text{rel} ≈ ½ F·K^{-1}·F, \qquad δg ≈ ∂²E/∂λ∂R · K^{-1} · F.

    The energy's error is of second order in F, the gradient's of first. If no n_atoms force is
    longer than fmax and no curvature is below k, the energy is off by less than
    n_atoms fmax²/(2k). Default of ``fmax``:

    .. math:: f_\text{max} = \sqrt{2 k · 0.1 k_B T / n_\text{atoms}}, \qquad k = 0.01 \text{ eV/Å}².

    So low a k is there for saddles, near which forces are small and the energy is far from that of
    the minimum. Above 1,000 K it is that of 1,000 K. Errors in meV per cell with the bundled model,
    the median over random arrangements and the largest; 0.1 k_B T is 2.6 at 300 K:

    ==============  ===============  ===============  ===============  ===============
    fmax (eV/Å)     Sr2ScTaO6, 40    Pb2ScTaO6, 40    Sr2ScTaO6, 320   Pb2ScTaO6, 320
    ==============  ===============  ===============  ===============  ===============
    0.02            0.7, 165         1.3, 298         2.1, 113         19, 134
    0.01            0.13, 0.26       0.34, 58         0.7, 108         8, 39
    0.005           0.03, 0.11       0.09, 58         0.2, 0.5         0.5, 7
    0.002           0.005, 0.02      0.007, 0.05      0.05, 0.09       0.05, 0.15
    default 1000 K  0.006, 0.02      0.008, 0.06      0.003, 0.007     0.01, 0.01
    default 300 K   0.001, 0.004     0.003, 0.02      < 0.001, 0.001   0.004, 0.005
    ==============  ===============  ===============  ===============  ===============

    (24 arrangements of 40 atoms, 3 of 320.) The default of 300 K takes 78, 93, 193 and 207 force
    calls on average, 0.01 eV/Å 65, 69, 146 and 142: L-BFGS converges fast where it converges. ASE's
    FIRE takes 2 to 4.5 times as many from the same starts, ASE's L-BFGS 1.5 to 2 times. All figures
    are those of ``benchmarks/relaxed.py``.

    Parameters
    ----------
    hamiltonian
        Energy model with ``at(positions, cell)`` and ``energy_forces_stress``, bound to the
        positions and cell around which references lie.
    fmax
        Largest force in eV/Å (of an atom, or of the cell's strain in the same measure) at which a
        structure is relaxed; chosen as above by default.
    cell
        What of the cell is relaxed, at zero pressure: False, nothing; ``"isotropic"``, the volume;
        ``"full"`` or True, all of it.
    temperature
        Temperature in K that the default ``fmax`` is chosen for, 300 by default.
    references
        How many starts, with seeds ``seed``, ``seed`` + 1, …
    displacement
        Standard deviation in Å of the reference's displacements along each axis.
    seed
        Seed of the first reference.
    max_steps
        Force calls from one start after which an occupation counts as failed.
    memory
        Bytes kept of energies, minima and gradients of occupations seen before.

    Raises
    ------
    InputError
        If a number cannot be used, or ``hamiltonian`` cannot be bound to positions.

    Notes
    -----
    Not guaranteed: the lowest of all minima. Sr2ScTaO6 (40 atoms, bundled model and CHGNet) comes
    out the same from any reference to 1 meV and from equivalent occupations to 7 meV; Pb2ScTaO6,
    which has more soft modes, to 50 meV with CHGNet, and layered order with the bundled model to
    0.26 eV (standard deviations over four). ``references`` and ``spread`` are for such cases.

    An occupation without a minimum (not converged in ``max_steps``, no finite energy, an atom more
    than 3 Å from its reference) has the energy +inf and a gradient of zero: samplers refuse it, and
    refuse to start from it. ``failures`` counts them. A vacancy's position takes no part; it stays
    where it is in the cell.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import AlchemicalMACE, Relaxed, builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 1, 1))
    >>> mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    >>> relaxed = Relaxed(mace, cell="isotropic", temperature=1000.0)
    >>> energy, gradient = relaxed.energy_and_gradient(np.array([[0, 1]]))
    >>> energy < mace.energy(np.array([[0, 1]])), gradient.shape
    (array([ True]), (1, 2, 2))
    >>> minimum = relaxed.relaxed(np.array([0, 1]))
    >>> bool(minimum.converged), minimum.residuals < relaxed.fmax, relaxed.failures.number
    (True, np.True_, 0)
    """

    def __init__(
        self,
        hamiltonian: Positional,
        fmax: float | None = None,
        cell: bool | str = False,
        *,
        temperature: float | None = None,
        references: int = 1,
        displacement: float = 0.05,
        seed: int = 0,
        max_steps: int = MAX_STEPS,
        memory: int = MEMORY,
    ) -> None:
        for name in ("at", "energy_forces_stress"):
            if not hasattr(hamiltonian, name):
                raise InputError(
                    f"{type(hamiltonian).__name__} has no {name}, so it cannot be relaxed; give an "
                    "energy model of positions such as AlchemicalMACE"
                )
        for name, value, least in (
            ("references", references, 1),
            ("max_steps", max_steps, 1),
            ("memory", memory, 0),
        ):
            if not is_whole(value, least=least):
                raise InputError(
                    f"{name} is {shown(value)}; give a whole number of {least} or more"
                )
        self.hamiltonian, self.lattice = hamiltonian, hamiltonian.lattice
        self.cell = _kind_of(cell)
        self.fmax = _fmax(fmax, temperature, hamiltonian)
        self.references, self.displacement, self.seed = references, displacement, seed
        self.max_steps = max_steps
        self._coordinates = Coordinates(
            np.array(getattr(hamiltonian, "cell", self.lattice.atoms.cell.array), dtype=np.float64),
            len(self.lattice.atoms),
            self.cell,
        )
        self._starts = [self._reference(seed + number) for number in range(references)]
        # Energies are kept apart, or the positions would drive out thousands of them.
        self._energies, self._minima = Memory(memory // 4), Memory(memory - memory // 4)
        self._n_failures = 0
        self._failed: dict[bytes, str] = {}

    def __repr__(self) -> str:
        return f"Relaxed({self.hamiltonian!r}, fmax={self.fmax:.2g}, cell={self.cell!r})"

    @property
    def model_info(self) -> Any:
        """What the energy model says of itself, None where it does not."""
        return getattr(self.hamiltonian, "model_info", None)

    @property
    def failures(self) -> Failures:
        """How many energies had no minimum, and the first such occupations."""
        listed = [np.frombuffer(key, dtype=np.int8) for key in self._failed]
        occupations = np.array(listed, dtype=np.int8).reshape(-1, self.lattice.n_sites)
        return Failures(self._n_failures, occupations, tuple(self._failed.values()))

    # ---- the landscape ---------------------------------------------------------------------

    def energy(self, occupations: np.ndarray) -> np.ndarray:
        """Relaxed energies in eV, [n_replicas], of occupations [n_replicas, n_sites].

        +inf where there is no minimum. A single occupation [n_sites] gives a number without axes.
        """
        occupations = self.lattice.check(occupations)
        replicas = np.atleast_2d(occupations)
        found = self._energies.recall("energy", replicas, self._relaxed_energies)
        self._count(replicas, [problem for _, problem in found])
        return np.array([energy for energy, _ in found]).reshape(occupations.shape[:-1])

    def energy_and_gradient(self, occupations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies [n_replicas] and ∂E_rel/∂λ [n_replicas, n_sites, n_species_max] in eV.

        Where there is no minimum the energy is +inf and the gradient zero.
        """
        occupations = self.lattice.check(occupations)
        replicas = np.atleast_2d(occupations)
        found = self._minima.recall("gradient", replicas, self._gradients)
        self._count(replicas, [problem for _, _, problem in found])
        energies = np.array([energy for energy, _, _ in found])
        gradients = np.array([gradient for _, gradient, _ in found])
        lead = occupations.shape[:-1]
        return energies.reshape(lead), gradients.reshape(lead + self.lattice.allowed.shape)

    def energy_change(
        self, occupations: np.ndarray, sites: np.ndarray, species: np.ndarray
    ) -> np.ndarray:
        """ΔE_rel in eV, [n_replicas], of setting ``sites`` to ``species`` [n_replicas, m].

        −1 in ``sites`` pads. +inf where the changed occupation has no minimum.

        Raises
        ------
        ModelError
            If there is no minimum before the change.
        """
        occupations = np.atleast_2d(self.lattice.check(occupations))
        changed = self.lattice.check(with_changes(occupations, sites, species))
        before = self.energy(occupations)
        if not np.isfinite(before).all():
            raise ModelError(
                "an occupation without a relaxed minimum has no energy to change from: start from "
                "another, or give a larger max_steps or fmax"
            )
        return self.energy(changed) - before

    def relaxed(self, occupations: np.ndarray) -> Relaxation:
        """Minima of occupations [n_replicas, n_sites], or of one [n_sites].

        Failures are reported in the result and not counted in ``failures``.
        """
        occupations = self.lattice.check(occupations)
        replicas = np.atleast_2d(occupations)
        minima = self._recalled(replicas)
        lead = occupations.shape[:-1]
        columns = [np.array(column) for column in zip(*minima, strict=True)]
        return Relaxation(*(column.reshape(lead + column.shape[1:]) for column in columns))

    def spread(
        self, occupations: np.ndarray, *, references: int = 4, equivalents: int = 4
    ) -> Spread:
        """How far energies differ that ought to be the same.

        Parameters
        ----------
        occupations
            [n, n_sites] or [n_sites].
        references
            Landscapes to compare, with the seeds that follow on one another's.
        equivalents
            Arrangements to compare, evenly spaced among those equivalent by the symmetry of the
            lattice's reference positions.

        Raises
        ------
        InputError
            If there are fewer than two to compare, or the symmetry operations are too many to list.
        """
        for name, value in (("references", references), ("equivalents", equivalents)):
            if not is_whole(value, least=2):
                raise InputError(f"{name} is {shown(value)}; give a whole number of 2 or more")
        occupations = np.atleast_2d(self.lattice.check(occupations))
        others = [self._reseeded(number) for number in range(references)]
        by_reference = np.stack([one.relaxed(occupations).energies for one in others], axis=1)
        permutations = self.lattice.symmetry_permutations()
        by_equivalent = np.full((len(occupations), equivalents), np.inf)
        for row, occupation in zip(by_equivalent, occupations, strict=True):
            alike = np.unique(occupation[permutations], axis=0)
            chosen = np.linspace(0, len(alike) - 1, min(equivalents, len(alike))).astype(int)
            row[: len(chosen)] = self.relaxed(alike[chosen]).energies
        return Spread(*(np.where(np.isfinite(e), e, np.nan) for e in (by_reference, by_equivalent)))

    # ---- minimisation ----------------------------------------------------------------------

    def _reference(self, seed: int) -> np.ndarray:
        """Coordinates of the start with that seed: a function of the seed and the atom alone."""
        moved = self.lattice.displaced_positions(self.displacement, seed)
        positions = getattr(self.hamiltonian, "positions", self.lattice.atoms.positions)
        return self._coordinates.start(positions + (moved - self.lattice.atoms.positions))

    def _reseeded(self, number: int) -> Self:
        """Return the landscape from the next references but ``number`` − 1 times as many."""
        other = copy.copy(self)
        if number:
            other.seed = first = self.seed + number * self.references
            starts = [self._reference(first + k) for k in range(self.references)]
            other._starts, other._minima = starts, Memory(0)  # noqa: SLF001
        return other

    def _recalled(self, occupations: np.ndarray) -> list[tuple[Any, ...]]:
        return self._minima.recall("minimum", occupations, self._minimised)

    def _relaxed_energies(self, occupations: np.ndarray) -> list[tuple[float, str]]:
        return [(minimum[0], minimum[-1]) for minimum in self._recalled(occupations)]

    def _minimised(self, occupations: np.ndarray) -> list[tuple[Any, ...]]:
        """Fields of a `Relaxation` for each occupation: the lowest over the references."""
        n = len(occupations)
        found = [self._minimise(occupations, [start] * n) for start in self._starts]
        return [self._lowest(minima) for minima in zip(*found, strict=True)]

    def _lowest(self, minima: tuple[Minimum, ...]) -> tuple[Any, ...]:
        energies = [np.inf if one.problem else one.energy for one in minima]
        best = int(np.argmin(energies))
        one = minima[best]
        positions, cell = self._coordinates.structure(one.coordinates)
        calls = sum(minimum.calls for minimum in minima)
        converged = not one.problem
        return (
            energies[best], positions, cell, one.residual, calls, best, converged, one.problem,
        )  # fmt: skip

    def _minimise(self, occupations: np.ndarray, starts: list[np.ndarray]) -> list[Minimum]:
        coordinates = self._coordinates

        def evaluate(
            numbers: list[int], points: list[np.ndarray]
        ) -> list[tuple[float, np.ndarray]]:
            places, cells = zip(*(coordinates.structure(point) for point in points), strict=True)
            found = forces_at(
                self.hamiltonian, occupations[numbers], np.array(places), np.array(cells)
            )
            return [
                (float(energy), coordinates.gradient(point, forces, stress))
                for point, energy, forces, stress in zip(points, *found, strict=True)
            ]

        return minimise(
            evaluate, starts,
            limits=coordinates.limits, fmax=self.fmax, max_steps=self.max_steps,
        )  # fmt: skip

    def _gradients(self, occupations: np.ndarray) -> list[tuple[float, np.ndarray, str]]:
        found = []
        for occupation, minimum in zip(occupations, self._recalled(occupations), strict=True):
            energy, positions, cell = minimum[:3]
            gradient = np.zeros(self.lattice.allowed.shape)
            if np.isfinite(energy):
                view = self.hamiltonian.at(positions, cell)
                gradient = np.array(view.energy_and_gradient(occupation[None])[1][0])
            found.append((energy, gradient, minimum[-1]))
        return found

    def _count(self, occupations: np.ndarray, problems: list[str]) -> None:
        for occupation, problem in zip(occupations, problems, strict=True):
            if problem:
                self._n_failures += 1
                if len(self._failed) < LISTED:
                    self._failed.setdefault(occupation.tobytes(), problem)


def forces_at(
    hamiltonian: Any, occupations: np.ndarray, positions: np.ndarray, cells: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energies, forces and stress of structures, each at its own positions; NaN where none.

    By the model's own ``forces_at`` where it has one, else one view of it after the other.
    """
    if hasattr(hamiltonian, "forces_at"):
        return hamiltonian.forces_at(occupations, positions, cells)
    energies = np.full(len(occupations), np.nan)
    forces, stress = np.full(positions.shape, np.nan), np.full(cells.shape, np.nan)
    for row, (occupation, places, cell) in enumerate(
        zip(occupations, positions, cells, strict=True)
    ):
        try:
            found = hamiltonian.at(places, cell).energy_forces_stress(occupation[None])
        except AlchemcError:  # atoms on top of one another, no finite energy
            continue
        energies[row], forces[row], stress[row] = (values[0] for values in found)
    return energies, forces, stress


def _kind_of(cell: bool | str) -> str:
    if isinstance(cell, bool):
        return "full" if cell else "fixed"
    if cell not in ("isotropic", "full"):
        raise InputError(
            f'cell is {shown(cell)}; give False, "isotropic" or "full" for what is to be relaxed'
        )
    return cell


def _fmax(fmax: float | None, temperature: float | None, hamiltonian: Positional) -> float:
    """Return the largest force at a minimum, in eV/Å."""
    for name, value in (("fmax", fmax), ("temperature", temperature)):
        if value is not None and (not is_number(value) or value <= 0):
            raise InputError(f"{name} is {shown(value)}; give a number above 0")
    if fmax is not None and temperature is not None:
        raise InputError("temperature chooses fmax, which is given too; leave one of the two out")
    if fmax is not None:
        return float(fmax)
    kelvin = min(TEMPERATURE if temperature is None else temperature, HOTTEST)
    error = SHARE * units.kB * kelvin
    return float(np.sqrt(2.0 * SOFTEST * error / len(hamiltonian.lattice.atoms)))


def _deviation(energies: np.ndarray) -> np.ndarray:
    """Return the standard deviation of each row's numbers; NaN where there are fewer than two."""
    known = np.isfinite(energies)
    count = known.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, energies, 0.0).sum(axis=1) / count
        squares = np.where(known, (energies - mean[:, None]) ** 2, 0.0).sum(axis=1)
        return np.asarray(np.sqrt(squares / (count - 1)))
