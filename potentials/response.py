"""How an energy model responds to species: its expansion at a mean composition, and fits of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import lsqr

from ..errors import InputError
from ..lattice import Lattice
from ..protocols import Hamiltonian
from ..sublattice import is_whole, shown
from ..tiling import Tiling, find_tiling
from .pair_expansion import PairExpansion, check_size, coordinates_of_species, pair_distances

__all__ = [
    "Features",
    "Response",
    "expansion_about",
    "fit_response",
    "is_uniform",
    "onsite_energies",
    "reduced",
    "taylor_expansion",
]

MOST_ORBITS = 24
MOST_CLASSES = 8  # of a sublattice
_UNIFORM = 1e-5  # eV, by which fields of like sites may differ
_PENALTIES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def taylor_expansion(
    hamiltonian: Hamiltonian, mean: np.ndarray | None = None, *, probes: int = 2
) -> PairExpansion:
    r"""Expand the alchemical energy to second order at the mean composition.

    .. math:: S(σ) = E(\bar λ) + g·(σ − \bar λ) + ½ (σ − \bar λ)^T H (σ − \bar λ)

    with g = ∂E/∂λ and H = ∂²E/∂λ² at λ̄. On ideal positions one Hessian–vector product per kind of
    site and species but the first gives all of H, by translation. Where atoms are displaced, the
    site field g carries the displacements, and H is averaged by distance from ``probes`` products
    with random vectors.

    No occupation is evaluated. The shape of S is good for potentials whose energy is nearly
    quadratic in λ; its size may be off, which `SurrogateChain` corrects by a few energies.

    Parameters
    ----------
    hamiltonian
        Energy model with ``mixed_energy`` and ``hessian_product``.
    mean
        λ̄, [n_sites, n_species_max], alike on sites of a kind; by default the lattice's nominal
        composition.
    probes
        Hessian–vector products where atoms are displaced.

    Raises
    ------
    InputError
        If the model has no Hessian products, or a number cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import AlchemicalMACE, builders, potentials
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 2, 2))
    >>> mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    >>> mean = lattice.mean_weights({"B": {"Sc": 0.5, "Ta": 0.5}})
    >>> surrogate = potentials.taylor_expansion(mace, mean)
    >>> states = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(1), 20)
    >>> bool(np.corrcoef(mace.energy(states), surrogate.energy(states))[0, 1] > 0.99)
    True
    """
    if not (hasattr(hamiltonian, "hessian_product") and hasattr(hamiltonian, "mixed_energy")):
        raise InputError(
            f"{type(hamiltonian).__name__} has no hessian_product and mixed_energy to expand: fit "
            "a surrogate to its energies and gradients instead (SurrogateChain does)"
        )
    if not is_whole(probes, least=1):
        raise InputError(f"probes is {shown(probes)}; give a whole number, 1 or more")
    lattice = hamiltonian.lattice
    mean = lattice.mean_weights() if mean is None else np.asarray(mean, dtype=float)
    point = hamiltonian.mixed_energy(mean, forces=False, stress=False)
    return expansion_about(hamiltonian, mean, point, probes=probes)


def expansion_about(
    hamiltonian: Any, mean: np.ndarray, point: Any, *, probes: int = 2
) -> PairExpansion:
    """Expand about a composition at which ``mixed_energy`` has given ``point`` already."""
    lattice: Lattice = hamiltonian.lattice
    tiling = find_tiling(lattice)
    check_size(lattice, tiling)
    slopes = reduced(lattice, point.gradient)
    if is_uniform(tiling, slopes):
        couplings, own = _columns(hamiltonian, mean, tiling)
    else:
        rng = np.random.default_rng(0)  # any vectors do; always the same ones
        x = [_probe(lattice, rng) for _ in range(probes)]
        y = [reduced(lattice, hamiltonian.hessian_product(mean, _direction(v))) for v in x]
        features = Features.of(lattice, tiling)
        found = fit_response(
            features, list(zip(x, y, strict=True)), np.zeros_like(slopes), damping=1e3
        )
        couplings, own = features.couplings(found.shared), features.own(found.shared)
    return PairExpansion(
        lattice,
        mean=mean,
        constant=point.energy,
        onsite=onsite_energies(lattice, mean, slopes, own),
        couplings=couplings,
    )


def reduced(lattice: Lattice, gradient: np.ndarray) -> np.ndarray:
    """∂E/∂x, [n_sites, n_species_max − 1], of a gradient [n_sites, n_species_max] in eV."""
    slopes = gradient[:, 1:] - gradient[:, :1]
    return np.where(np.asarray(lattice.allowed)[:, 1:], slopes, 0.0)


def is_uniform(tiling: Tiling, slopes: np.ndarray) -> bool:
    """Whether all sites of a kind feel the same field, as on ideal positions."""
    spread = [np.ptp(slopes[tiling.kinds == k], axis=0).max() for k in range(len(tiling.basis))]
    return bool(max(spread) < _UNIFORM)


def onsite_energies(
    lattice: Lattice, mean: np.ndarray, slopes: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """e_i[k] = f_i·x(k) + ½ x(k)ᵀ J_ii x(k) in eV, [n_sites, n_species_max]."""
    x = np.stack([coordinates_of_species(row) for row in mean])
    energies = np.einsum("ikp,ip->ik", x, slopes) + 0.5 * np.einsum("ikp,ipq,ikq->ik", x, own, x)
    return np.where(np.asarray(lattice.allowed), energies, 0.0)


def _columns(hamiltonian: Any, mean: np.ndarray, tiling: Tiling) -> tuple[np.ndarray, np.ndarray]:
    """Couplings [n_kinds, n_sites, r, r] and self couplings [n_sites, r, r], column by column."""
    lattice: Lattice = hamiltonian.lattice
    rank = lattice.n_species_max - 1
    couplings = np.zeros((len(tiling.basis), lattice.n_sites, rank, rank))
    own = np.zeros((lattice.n_sites, rank, rank))
    for kind in range(len(tiling.basis)):
        site = int(tiling.first_sites[kind])
        for p in np.flatnonzero(np.asarray(lattice.allowed)[site, 1:]).tolist():
            x = np.zeros((lattice.n_sites, rank))
            x[site, p] = 1.0
            product = reduced(lattice, hamiltonian.hessian_product(mean, _direction(x)))
            couplings[kind, :, p] = product
        own[tiling.kinds == kind] = couplings[kind, site]
        couplings[kind, site] = 0.0
    return couplings, own


def _direction(x: np.ndarray) -> np.ndarray:
    """Change of λ that changes the coordinates by x: what other species gain the first loses."""
    return np.concatenate([-x.sum(axis=1, keepdims=True), x], axis=1)


def _probe(lattice: Lattice, rng: np.random.Generator) -> np.ndarray:
    movable = np.asarray(lattice.allowed)[:, 1:]
    return np.where(movable, rng.choice([-0.5, 0.5], size=movable.shape), 0.0)


class _Term(NamedTuple):
    """A shared parameter: what it adds to ∂E/∂x as a function of x.

    ``orbit`` is that of the pairs, −1 for a site's own curvature and −2 for a field; ``p`` and
    ``q`` the coordinates it couples; ``label`` the class of the sites where there is no pair.
    """

    orbit: int
    p: int
    q: int
    label: int


class _Orbit(NamedTuple):
    """Pairs at one distance between sites of two classes.

    ``classes``; ``distance`` in Å; ``adjacency`` [n_sites, n_sites], one from the first class to
    the second; ``members``: for every kind of site of the first class its sites of the second.
    """

    classes: tuple[int, int]
    distance: float
    adjacency: sparse.csr_matrix
    members: dict[int, np.ndarray]


@dataclass(frozen=True)
class Features:
    """Parameters shared by symmetry-equivalent sites and pairs, and the energies they stand for."""

    lattice: Lattice
    tiling: Tiling
    classes: np.ndarray
    orbits: tuple[_Orbit, ...]
    terms: tuple[_Term, ...]

    @classmethod
    def of(cls, lattice: Lattice, tiling: Tiling) -> Features:
        """List the orbits of the nearest pairs, and the parameters of all of them."""
        classes = _classes(lattice, tiling)
        orbits = _orbits(lattice, tiling, classes)
        allowed = np.asarray(lattice.allowed)
        first = {int(c): int(np.argmax(classes == c)) for c in np.unique(classes)}
        kept = {c: np.flatnonzero(allowed[i, 1:]).tolist() for c, i in first.items()}
        terms = []
        for label, coordinates in kept.items():
            terms += [_Term(-2, p, p, label) for p in coordinates]
            terms += [_Term(-1, p, q, label) for p in coordinates for q in coordinates if p <= q]
        for n, orbit in enumerate(orbits):
            a, b = orbit.classes
            terms += [_Term(n, p, q, a) for p in kept[a] for q in kept[b] if a != b or p <= q]
        return cls(lattice, tiling, classes, tuple(orbits), tuple(terms))

    def slopes(self, x: np.ndarray) -> np.ndarray:
        """∂E/∂x of every term with its parameter at one, [n_terms, n_sites, r]."""
        classes = self.classes
        result = np.zeros((len(self.terms), *x.shape))
        around = [(o.adjacency @ x, o.adjacency.T @ x) for o in self.orbits]
        for n, (orbit, p, q, label) in enumerate(self.terms):
            if orbit == -2:
                result[n, classes == label, p] = 1.0
            elif orbit == -1:
                here = classes == label
                result[n, here, p] = x[here, q]
                result[n, here, q] = x[here, p]
            elif self.orbits[orbit].classes[0] == self.orbits[orbit].classes[1]:
                result[n, :, p] = around[orbit][0][:, q]
                result[n, :, q] = around[orbit][0][:, p]
            else:
                result[n, :, p] += around[orbit][0][:, q]
                result[n, :, q] += around[orbit][1][:, p]
        return result

    def energies(self, x: np.ndarray) -> np.ndarray:
        """Energy of every term with its parameter at one, [n_states, n_terms], of x."""
        share = np.array([1.0 if term.orbit == -2 else 0.5 for term in self.terms])
        return np.array([share * (self.slopes(one) * one).sum(axis=(1, 2)) for one in x])

    def couplings(self, parameters: np.ndarray) -> np.ndarray:
        """J of every kind of site with every site, [n_kinds, n_sites, r, r], in eV."""
        rank = self.lattice.n_species_max - 1
        result = np.zeros((len(self.tiling.basis), self.lattice.n_sites, rank, rank))
        for value, (orbit, p, q, _) in zip(parameters, self.terms, strict=True):
            if orbit < 0:
                continue
            a, b = self.orbits[orbit].classes
            for kind, sites in self.orbits[orbit].members.items():
                result[kind, sites, p, q] += value
                if a == b and p != q:
                    result[kind, sites, q, p] += value
            if a != b:
                for kind, sites in _reversed(self.classes, self.tiling, self.orbits[orbit]).items():
                    result[kind, sites, q, p] += value
        return result

    def own(self, parameters: np.ndarray) -> np.ndarray:
        """Self couplings of every site, [n_sites, r, r], in eV."""
        rank, classes = self.lattice.n_species_max - 1, self.classes
        result = np.zeros((self.lattice.n_sites, rank, rank))
        for value, (orbit, p, q, label) in zip(parameters, self.terms, strict=True):
            if orbit == -1:
                here = classes == label
                result[here, p, q] = result[here, q, p] = value
        return result

    def field(self, parameters: np.ndarray) -> np.ndarray:
        """Shared part of the field f of every site, [n_sites, r], in eV."""
        result = np.zeros((self.lattice.n_sites, self.lattice.n_species_max - 1))
        for value, (orbit, p, _, label) in zip(parameters, self.terms, strict=True):
            if orbit == -2:
                result[self.classes == label, p] = value
        return result

    def nearest_pairs(self) -> np.ndarray:
        """Pairs i < j of the nearest orbit of every two classes, int64 [n_pairs, 2]."""
        nearest: dict[tuple[int, int], _Orbit] = {}
        for orbit in self.orbits:
            nearest.setdefault(orbit.classes, orbit)
        found = set()
        for orbit in nearest.values():
            rows, columns = orbit.adjacency.nonzero()
            found |= {(min(i, j), max(i, j)) for i, j in zip(rows, columns, strict=True)}
        return np.array(sorted(found), dtype=np.int64).reshape(-1, 2)


class Response(NamedTuple):
    """Fitted parameters.

    ``shared`` [n_terms] in eV, those of the features; ``field`` [n_sites, r], what every site's
    field has of its own; ``pairs`` [n_pairs, 2] and ``deviations`` [n_pairs, r, r], what single
    pairs have of their own; ``unexplained``, the share of the gradients' squares that is left.
    """

    shared: np.ndarray
    field: np.ndarray
    pairs: np.ndarray
    deviations: np.ndarray
    unexplained: float


def fit_response(
    features: Features,
    points: Sequence[tuple[np.ndarray, np.ndarray]],
    field: np.ndarray,
    *,
    damping: float,
    single_pairs: bool = False,
) -> Response:
    """Fit shared parameters, fields of sites and couplings of single pairs to gradients.

    Least squares over all sites of all points. A site's own field costs ``damping`` times its
    square as much as a residual; a single pair's deviation costs as much as predicts the gradients
    of points left out best.

    Parameters
    ----------
    features
        Shared parameters.
    points
        Pairs (x, ∂E/∂x), both [n_sites, r].
    field
        Fields that are known beforehand, [n_sites, r], in eV.
    damping
        Weight of a site's own field.
    single_pairs
        Whether nearest pairs differ from one another, as they do where atoms are displaced.
    """
    pairs = features.nearest_pairs() if single_pairs else np.zeros((0, 2), dtype=np.int64)
    systems = [_System.of(features, x, y - field, pairs) for x, y in points]
    penalty = np.inf
    if len(pairs) and len(points) >= 4:
        scores = []
        for trial in (*_PENALTIES, np.inf):
            error = 0.0
            for fold in range(4):
                kept = [s for n, s in enumerate(systems) if n % 4 != fold]
                solution = _solve(kept, damping, trial)
                left = [s for n, s in enumerate(systems) if n % 4 == fold]
                error += sum(float(((s.matrix @ solution - s.target) ** 2).sum()) for s in left)
            scores.append((error, trial))
        penalty = min(scores)[1]
    solution = _solve(systems, damping, penalty)
    n_terms, n_field = len(features.terms), field.size
    rank = field.shape[1]
    rest = sum(float(((s.matrix @ solution - s.target) ** 2).sum()) for s in systems)
    return Response(
        shared=solution[:n_terms],
        field=field + solution[n_terms : n_terms + n_field].reshape(field.shape),
        pairs=pairs if np.isfinite(penalty) else pairs[:0],
        deviations=solution[n_terms + n_field :].reshape(-1, rank, rank)
        if np.isfinite(penalty)
        else np.zeros((0, rank, rank)),
        unexplained=rest / max(sum(float((s.target**2).sum()) for s in systems), 1e-300),
    )


class _System(NamedTuple):
    """Rows of the regression that belong to one point."""

    matrix: sparse.csr_matrix
    target: np.ndarray
    n_terms: int
    n_field: int

    @classmethod
    def of(cls, features: Features, x: np.ndarray, y: np.ndarray, pairs: np.ndarray) -> _System:
        n_sites, rank = x.shape
        shared = features.slopes(x).reshape(len(features.terms), -1).T
        # Row (i, p) holds d_pq x_j^q, and row (j, q) holds d_pq x_i^p.
        block = np.arange(len(pairs) * rank * rank).reshape(len(pairs), rank, rank)
        i, j = pairs[:, 0], pairs[:, 1]
        rows, columns, values = [], [], []
        for p in range(rank):
            for q in range(rank):
                rows += [i * rank + p, j * rank + q]
                columns += [block[:, p, q]] * 2
                values += [x[j, q], x[i, p]]
        flat = [np.concatenate(part) if part else np.zeros(0) for part in (values, rows, columns)]
        single = sparse.csr_matrix(
            (flat[0], (flat[1].astype(int), flat[2].astype(int))), shape=(x.size, block.size)
        )
        matrix = sparse.hstack([sparse.csr_matrix(shared), sparse.identity(x.size), single])
        return cls(matrix.tocsr(), y.ravel(), len(features.terms), n_sites * rank)


def _solve(systems: Sequence[_System], damping: float, penalty: float) -> np.ndarray:
    """Damped least squares; an infinite penalty leaves single pairs out."""
    matrix = sparse.vstack([s.matrix for s in systems]).tocsr()
    target = np.concatenate([s.target for s in systems])
    fixed, n_field = systems[0].n_terms, systems[0].n_field
    n_single = matrix.shape[1] - fixed - n_field
    if not np.isfinite(penalty):
        matrix = matrix[:, : fixed + n_field]
    weights = np.concatenate(
        [
            np.full(fixed, 1e-3),
            np.full(n_field, np.sqrt(damping)),
            np.full(n_single if np.isfinite(penalty) else 0, np.sqrt(penalty)),
        ]
    )
    whole = sparse.vstack([matrix, sparse.diags(weights)]).tocsr()
    right = np.concatenate([target, np.zeros(len(weights))])
    found = lsqr(whole, right, atol=1e-10, btol=1e-10, iter_lim=2000)[0]
    return np.concatenate([found, np.zeros(fixed + n_field + n_single - len(found))])


def _classes(lattice: Lattice, tiling: Tiling) -> np.ndarray:
    """Sites that share parameters, int64 [n_sites]: whole kinds, merged by symmetry.

    Where symmetry tells too many apart, as in a lattice of displaced atoms, all of a sublattice.
    """
    classes = np.array(lattice.classes)
    for kind in range(len(tiling.basis)):  # spectators may split what repeats as one kind
        members = np.unique(classes[tiling.kinds == kind])
        classes[np.isin(classes, members)] = members[0]
    if len(np.unique(classes)) > MOST_CLASSES * len(lattice.names):
        return np.asarray(lattice.sublattice_of_site, dtype=np.int64)
    return classes


def _orbits(lattice: Lattice, tiling: Tiling, classes: np.ndarray) -> list[_Orbit]:
    movable = np.asarray(lattice.allowed).sum(axis=1) > 1
    starts = tiling.first_sites.tolist()
    found = {k: pair_distances(tiling, k) for k, start in enumerate(starts) if movable[start]}
    if not found:
        return []
    shell_of = _shells(np.concatenate([distance for distance, _ in found.values()]))
    near: dict[tuple[float, int, int, int], dict[int, np.ndarray]] = {}
    for kind, (distance, images) in found.items():
        start, shells = starts[kind], shell_of(distance)
        for site in np.flatnonzero(movable & (np.arange(len(movable)) != start)).tolist():
            if classes[start] <= classes[site]:
                # A site met as two images couples twice as strongly.
                where = (float(shells[site]), int(images[site]))
                key = (*where, int(classes[start]), int(classes[site]))
                members = near.setdefault(key, {})
                members[kind] = np.append(members.get(kind, np.zeros(0, dtype=np.int64)), site)
    return [
        _Orbit((a, b), distance, _adjacency(tiling, members), members)
        for (distance, _, a, b), members in sorted(near.items())[:MOST_ORBITS]
    ]


def _shells(distances: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Map from distances to the nearest distance of their shell, in Å.

    A shell ends where the next distance is farther than a gap, which is as small as leaves no more
    than a few dozen shells.
    """
    known = np.unique(np.round(distances, 3))
    for gap in (0.01, 0.1, 0.3):
        first = known[np.diff(known, prepend=-np.inf) > gap]
        if len(first) <= 4 * MOST_ORBITS:
            break
    return lambda values: first[np.searchsorted(first, np.round(values, 3), side="right") - 1]


def _adjacency(tiling: Tiling, members: dict[int, np.ndarray]) -> sparse.csr_matrix:
    rows, columns = [], []
    for kind, sites in members.items():
        centres = np.flatnonzero(tiling.kinds == kind)
        shift = tiling.cells[centres] - tiling.cells[tiling.first_sites[kind]]
        for site in sites.tolist():
            there = tiling.cells[site] + shift
            rows.append(centres)
            columns.append(tiling.sites_at(there, np.full(len(centres), tiling.kinds[site])))
    i, j = np.concatenate(rows), np.concatenate(columns)
    n_sites = len(tiling.kinds)
    return sparse.csr_matrix((np.ones(len(i)), (i, j)), shape=(n_sites, n_sites))


def _reversed(classes: np.ndarray, tiling: Tiling, orbit: _Orbit) -> dict[int, np.ndarray]:
    """Sites of the first class around one site of every kind of the second."""
    found = {}
    back = orbit.adjacency.T.tocsr()
    for kind in range(len(tiling.basis)):
        start = int(tiling.first_sites[kind])
        if int(classes[start]) == orbit.classes[1]:
            found[kind] = back[start].indices
    return found
