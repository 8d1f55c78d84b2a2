"""Lower convex hull of energies over composition: what is stable, and how far off the rest is."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...errors import InputError

__all__ = ["Hull", "lower_hull"]

_ROUNDING = 1e-9
"""Compositions that differ by less than this part of their range are the same."""


@dataclass(frozen=True, eq=False)
class Hull:
    """Lower convex hull of points (composition, energy).

    ``x`` [n, d] and ``energy`` [n] are the points. ``vertices`` are the indices of its corners,
    sorted by composition; ``facets`` [n_facets, n_corners] the corners of every flat piece: the
    phases of a tie line for two components, of a tie triangle for three. ``above`` [n] is the
    energy of every point over the hull, zero on it. ``slopes`` [n_facets, d] are ∂E/∂x of every
    flat piece, differences of chemical potentials where x are fractions; in a direction along which
    the compositions do not vary they are zero.
    """

    x: np.ndarray
    energy: np.ndarray
    vertices: np.ndarray
    facets: np.ndarray
    above: np.ndarray
    slopes: np.ndarray
    _offsets: np.ndarray = field(repr=False)
    _axes: np.ndarray = field(repr=False)

    def energy_at(self, x: np.ndarray) -> np.ndarray:
        """Energy of the hull at compositions, that of the best mixture of the points.

        Parameters
        ----------
        x
            [m, d] or [d]; one number or [m] where there is one component.

        Returns
        -------
        float64 [m]; NaN outside the compositions that the points span.

        Examples
        --------
        >>> hull = lower_hull([0.0, 0.5, 1.0], [0.0, -0.2, 0.1])
        >>> hull.energy_at([0.25, 0.75, 1.2]).round(3)
        array([-0.1 , -0.05,   nan])
        """
        at = self._compositions(x)
        values = np.max(at @ self.slopes.T + self._offsets, axis=1)
        return np.where([self._weights(row) is not None for row in at], values, np.nan)

    def mixture(self, x: np.ndarray) -> dict[int, float]:
        """Points of which the hull consists at a composition, and how much of each.

        Parameters
        ----------
        x
            [d], or a number where there is one component.

        Returns
        -------
        Index of the point -> its share; the shares add up to one.

        Raises
        ------
        InputError
            If the composition lies outside the points'.

        Examples
        --------
        >>> parts = lower_hull([0.0, 0.5, 1.0], [0.0, -0.2, 0.1]).mixture(0.125)
        >>> {n: round(share, 6) for n, share in parts.items()}
        {0: 0.75, 1: 0.25}
        """
        at = self._compositions(x)
        found = self._weights(at[0]) if len(at) == 1 else None
        if found is None:
            raise InputError(
                f"x = {np.asarray(x).tolist()} is not one composition among those of the points, "
                f"{self.x.min(axis=0).tolist()} to {self.x.max(axis=0).tolist()}: give one of these"
            )
        return found

    def _compositions(self, x: np.ndarray) -> np.ndarray:
        at = np.asarray(x, dtype=float)
        d = self.x.shape[1]
        at = at.reshape(-1, 1) if d == 1 else np.atleast_2d(at)
        if at.ndim != 2 or at.shape[1] != d:
            raise InputError(f"compositions of shape {np.shape(x)}: expected [m, {d}]")
        return at

    def _weights(self, x: np.ndarray) -> dict[int, float] | None:
        """Shares of the corners of the facet that holds x; None if none does."""
        origin = self.x[self.vertices[0]]
        inner = (x - origin) @ self._axes
        if np.abs(x - origin - inner @ self._axes.T).max(initial=0.0) > 1e-7:
            return None
        corners = (self.x[self.facets] - origin) @ self._axes
        best, shares = None, None
        for facet, corner in zip(self.facets, corners, strict=True):
            system = np.vstack([corner.T, np.ones(len(facet))])
            found = np.linalg.lstsq(system, np.append(inner, 1.0), rcond=None)[0]
            if best is None or found.min() > best:
                best, shares = found.min(), dict(zip(facet.tolist(), found.tolist(), strict=True))
        if best is None or shares is None or best < -1e-7:
            return None
        return {n: w for n, w in sorted(shares.items()) if w > 1e-12}


def lower_hull(x: np.ndarray, energy: np.ndarray) -> Hull:
    """Lower convex hull of energies over any number of composition variables.

    A mixture of points has the energy of its parts, so that what lies above the hull falls apart
    into the corners of the facet below it. Exact in one variable (Andrew's monotone chain, Inf.
    Process. Lett. 9, 216 (1979), doi:10.1016/0020-0190(79)90072-3), by Qhull in more (C. B. Barber,
    D. P. Dobkin and H. Huhdanpaa, ACM Trans. Math. Softw. 22, 469 (1996),
    doi:10.1145/235815.235821).

    Parameters
    ----------
    x
        Compositions [n, d], or [n] for one variable. Fractions that add up to one may be given
        whole: only the directions in which the points differ count.
    energy
        [n], per site or per atom that the fractions refer to.

    Raises
    ------
    InputError
        If there is no point, shapes disagree, or a number is not finite.

    Examples
    --------
    >>> hull = lower_hull([0.0, 0.25, 0.5, 1.0], [0.0, 0.05, -0.2, 0.0])
    >>> hull.vertices.tolist(), hull.facets.tolist(), hull.above.round(3).tolist()
    ([0, 2, 3], [[0, 2], [2, 3]], [0.0, 0.15, 0.0, 0.0])

    Three components, by two fractions:

    >>> corners = [[0, 0], [1, 0], [0, 1], [1 / 3, 1 / 3]]
    >>> hull = lower_hull(corners, [0.0, 0.0, 0.0, -0.1])
    >>> sorted(hull.facets.tolist())
    [[0, 1, 3], [0, 2, 3], [1, 2, 3]]
    """
    x, energy = _checked(x, energy)
    origin = x[np.lexsort(x.T[::-1])[0]]
    axes = _directions(x - origin)
    inner = (x - origin) @ axes
    if axes.shape[1] == 0:
        facets = np.array([[int(energy.argmin())]])
    elif axes.shape[1] == 1:
        facets = _chain(inner[:, 0], energy)
    else:
        facets = _lower_facets(inner, energy)
    slopes, offsets = _planes(inner, energy, facets)
    slopes = slopes @ axes.T
    offsets = offsets - slopes @ origin
    below = np.max(x @ slopes.T + offsets, axis=1)
    above = energy - below
    above[np.abs(above) <= 1e-12 * max(1.0, float(np.abs(energy).max()))] = 0.0
    corners = np.unique(facets)
    above[corners] = 0.0
    vertices = corners[np.lexsort(x[corners].T[::-1])]
    return Hull(x, energy, vertices, facets, np.maximum(above, 0.0), slopes, offsets, axes)


def _checked(x: np.ndarray, energy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    try:
        x, energy = np.array(x, dtype=float), np.array(energy, dtype=float)
    except (TypeError, ValueError):
        raise InputError("compositions and energies of a hull must be arrays of numbers") from None
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or energy.shape != x.shape[:1] or not len(energy):
        raise InputError(
            f"compositions of shape {x.shape} and energies of shape {energy.shape}: expected "
            "[n, d] and [n], with at least one point"
        )
    wrong = ~(np.isfinite(x).all(axis=1) & np.isfinite(energy))
    if wrong.any():
        n = int(wrong.argmax())
        raise InputError(
            f"point {n} has x = {x[n].tolist()} and energy {energy[n]}: leave out what is not known"
        )
    return x, energy


def _directions(x: np.ndarray) -> np.ndarray:
    """Orthonormal directions in which the points differ, [d, rank]."""
    _, sizes, rows = np.linalg.svd(x, full_matrices=False)
    largest = float(np.abs(x).max(initial=0.0))
    kept = rows[sizes > _ROUNDING * max(largest, 1e-300) * np.sqrt(len(x))]
    return np.asarray(kept.T * np.sign(kept.T.sum(axis=0) + 1e-12))


def _chain(x: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Pairs of neighbouring corners by Andrew's monotone chain, [n_facets, 2]."""
    order = np.lexsort((energy, x))
    span = float(np.ptp(x))
    hull: list[int] = []
    last = -np.inf
    for n in order.tolist():
        if x[n] - last <= _ROUNDING * span:  # the same composition, of higher energy
            continue
        last = x[n]
        while len(hull) > 1 and _not_convex(x, energy, hull[-2], hull[-1], n):
            hull.pop()
        hull.append(n)
    return np.array([hull[:-1], hull[1:]]).T


def _not_convex(x: np.ndarray, energy: np.ndarray, a: int, b: int, c: int) -> bool:
    """Whether b lies on or above the line from a to c."""
    return bool((energy[b] - energy[a]) * (x[c] - x[a]) >= (energy[c] - energy[a]) * (x[b] - x[a]))


def _lower_facets(x: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Simplices of the lower hull by Qhull, [n_facets, d + 1]."""
    from scipy.spatial import ConvexHull  # noqa: PLC0415  (slow to import)

    scaled = (x - x.min(axis=0)) / np.ptp(x, axis=0)
    height = (energy - energy.min()) / (np.ptp(energy) or 1.0)
    # One point high above the middle gives energies in one plane a volume, too.
    apex = np.append(scaled.mean(axis=0), 3.0)
    hull = ConvexHull(np.vstack([np.column_stack([scaled, height]), apex]))
    lower = hull.equations[:, -2] < -1e-9
    facets = np.sort(hull.simplices[lower], axis=1)
    volumes = np.abs(np.linalg.det(scaled[facets[:, 1:]] - scaled[facets[:, :1]]))
    return facets[volumes > _ROUNDING]


def _planes(x: np.ndarray, energy: np.ndarray, facets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes [n_facets, rank] and values at the origin [n_facets] of the facets' planes."""
    ones = np.ones((*facets.shape, 1))
    solved = np.linalg.solve(np.concatenate([x[facets], ones], axis=2), energy[facets][..., None])
    return solved[:, :-1, 0], solved[:, -1, 0]
