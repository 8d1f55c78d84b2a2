"""Free energies of compositions from runs in any ensemble, by MBAR."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from ase.units import kB

from ...errors import ConvergenceError
from ...protocols import Hamiltonian
from ...records import Run
from ..wording import counted, with_error
from .anchored import Anchor, anchor_of, with_anchor
from .arguments import check_resampling, kelvins
from .composition import ln_arrangements
from .free_energies import DOUBTFUL_SHARE, FreeEnergies, error_of
from .mbar import Solution, resolved, solved
from .observations import Observations, gathered
from .pool import Pool, pooled

__all__ = ["free_energy"]

LEAST_EFFECTIVE = 10
"""A composition that rests on fewer effective draws than this has no verdict."""

LEAST_AT_TEMPERATURE = 50
"""A temperature that fewer effective draws speak of is refused."""

LEAST_REPEATED = 0.01
"""So is one where, beyond the first of every composition, fewer of the draws than this count."""

MOST_APART = 4.0
"""Standard errors by which two pure compositions may contradict each other without a word."""

_QUANTITIES = ("free_energy", "energy", "heat_capacity")


def free_energy(
    runs: Run | Observations | Iterable[Run | Observations],
    temperatures: Sequence[float] | float | None = None,
    *,
    anchor: Hamiltonian | None = None,
    cut: float | None = None,
    resamples: int = 100,
    seed: int = 0,
) -> FreeEnergies:
    r"""Free energy F(x, T) of every composition that runs visited, with errors.

    .. math:: F(N, T) = −k_BT \ln \sum_{σ ∈ N} e^{−βE(σ)}
              = −k_BT \ln \sum_{n: N_n = N} \frac{e^{−βE_n}}{\sum_k N_k e^{f_k − u_k(x_n)}} + cT

    with u_k = βE − βΣμN (semi-grand), βE + Σ κN(c + φ/2)² (variance-constrained) or βE (canonical,
    ladders of tempering) at every point k, E an enthalpy where the cell moves, and f_k by MBAR from
    all points. What the constant c is hung on:

    - a pure composition, which has one arrangement, so that F = E (if positions are not sampled);
    - β = 0, where F/(−k_BT) is the logarithm of the number of arrangements: random arrangements
      evaluated with ``anchor``, or a point so hot that it reaches β = 0 itself. Canonical runs at
      different compositions share no states and are refused without it.

    Errors come from resampled blocks of draws, longer than five times the memory of the chains.

    Parameters
    ----------
    runs
        Runs on one lattice, any mixture of ensembles, or their `observations`.
    temperatures
        K; those of the points by default. Others are refused where the draws do not reach.
    anchor
        Energy model for 200 random arrangements of every composition that stands alone, and of one
        where the runs visit several but no pure one; the model of the runs.
    cut
        Fraction between two phases, such as 0.5, for runs that stay in the phase where they started
        (`pooled`): each phase is then sampled for itself, and points at other temperatures or
        chemical potentials that went across, around the critical point, say how they weigh.
    resamples
        How many resamples give the errors.
    seed
        Of the resamples and random arrangements.

    Raises
    ------
    ConvergenceError
        If points do not overlap, MBAR does not converge, a point contradicts the others, or the
        draws do not reach a temperature.
    InputError
        If compositions that share no states have no anchor, or an argument cannot be used.

    Examples
    --------
    Sixteen sites without interaction, four draws of ten at each μ (eV) of three:

    >>> from alchemc.analysis.stability.observations import SampledPoint
    >>> rng, points = np.random.default_rng(1), []
    >>> for mu in (-0.2, 0.0, 0.2):
    ...     ta = rng.binomial(16, 1 / (1 + np.exp(-mu / (kB * 1500))), size=(400, 4))
    ...     points.append(SampledPoint({"temperature": 1500.0, "mu_B_Ta": mu}, 0.0 * ta,
    ...                                np.stack([16 - ta, ta], axis=-1)))
    >>> cell = Observations((("B", "Sc"), ("B", "Ta")), {"B": 16}, tuple(points))
    >>> found = free_energy(cell, resamples=20).table.isel(temperature=0)
    >>> half = found.where(found.x_B_Ta == 0.5, drop=True)
    >>> exact = np.log(12870) / 16  # arrangements of eight among sixteen
    >>> bool(abs(half.entropy - exact) < 4 * half.entropy_error)
    True
    """
    check_resampling(resamples, seed)
    observed, rng = gathered(runs), np.random.default_rng(seed)
    kelvin = _temperatures(temperatures, observed)
    if anchor is not None:
        observed = with_anchor(observed, anchor, rng)
    whole = pooled(observed, cut)
    n_t, n_c = len(kelvin), len(whole.compositions)
    values = {name: np.full((n_t, n_c), np.nan) for name in _QUANTITIES}
    replicates = {name: np.full((resamples, n_t, n_c), np.nan) for name in _QUANTITIES}
    effective, doubtful = np.zeros((n_t, n_c)), np.zeros((n_t, n_c))
    groups, anchors = _groups(whole), []
    for pool in groups:
        solution = solved(pool)
        found = anchor_of(pool, solution, alone=len(groups) == 1)
        anchors.append(found)
        here = np.unique(pool.composition)
        one = _averages(pool, solution, kelvin, found)
        kish, share = _rested_on(pool, solution, kelvin)
        _reached(pool, kish, kelvin)
        for name in _QUANTITIES:
            values[name][:, here] = one[name][:, here]
        effective[:, here], doubtful[:, here] = kish[:, here], share[:, here]
        for b, again in enumerate(resolved(pool, solution, resamples, rng)):
            part = _averages(pool, again, kelvin, found)
            for name in _QUANTITIES:
                replicates[name][b][:, here] = part[name][:, here]
    error = error_of(replicates["free_energy"])
    pure = ln_arrangements(observed, whole.compositions) == 0.0
    sure = np.isfinite(error) & ((effective >= LEAST_EFFECTIVE) | pure)
    return FreeEnergies(
        Observations(observed.kinds, observed.sizes, ()),
        kelvin,
        whole.compositions,
        **values,
        replicates=replicates,
        effective=effective,
        doubtful=doubtful,
        converged=sure & (doubtful < DOUBTFUL_SHARE),
        absolute=all(a.kind != "none" for a in anchors),
        route=f"by MBAR over {counted(len(whole.beta), 'point')}, {_hung_on(anchors)}",
        notes=_notes(whole) + _closure(whole, anchors, groups, values, replicates, kelvin),
    )


def _temperatures(given: Sequence[float] | float | None, observed: Observations) -> np.ndarray:
    own = {p.coordinates["temperature"] for p in observed.points}
    return np.unique(kelvins([t for t in own if np.isfinite(t)] if given is None else given))


def _groups(pool: Pool) -> list[Pool]:
    """Parts of the pool that share no compositions, and therefore no states."""
    from scipy.sparse import coo_array, csgraph  # noqa: PLC0415  (slow to import)

    k, c = len(pool.beta), len(pool.compositions)
    pairs = np.unique(np.stack([pool.state, pool.composition], axis=1), axis=0).T
    # Two phases of one ensemble belong together although they may share no composition.
    open_to = np.isfinite(pool.bias)
    several = np.flatnonzero(np.bincount(pairs[0], minlength=k) > 1)
    visited = np.bincount(pairs[1], minlength=c) > 0
    extra = [(s, n) for s in several for n in np.flatnonzero(open_to[s] & visited)]
    rows, columns = np.concatenate([pairs.T, np.array(extra, dtype=int).reshape(-1, 2)]).T
    graph = coo_array((np.ones(len(rows)), (rows, columns + k)), shape=(k + c, k + c))
    _, part = csgraph.connected_components(graph, directed=False)
    found = []
    for label in dict.fromkeys(part[:k].tolist()):
        states = np.flatnonzero(part[:k] == label)
        found.append(pool.among(np.flatnonzero(part[pool.state] == label), states))
    return found


def _averages(
    pool: Pool, solution: Solution, kelvin: np.ndarray, anchor: Anchor
) -> dict[str, np.ndarray]:
    """Values by name, [n_temperatures, n_compositions]; NaN where there are no draws."""
    constant = anchor.constant(pool, solution)
    n_c, n_sites = len(pool.compositions), pool.observed.n_sites
    where, enthalpy = solution.composition, solution.enthalpy
    found = {name: np.full((len(kelvin), n_c), np.nan) for name in _QUANTITIES}
    for t, temperature in enumerate(kelvin):
        beta = 1.0 / (kB * temperature)
        w, top = _weights(solution, beta, n_c)
        total = np.bincount(where, w, n_c)
        seen = total > 0
        safe = np.where(seen, total, 1.0)
        mean = np.bincount(where, w * enthalpy, n_c) / safe
        variance = np.bincount(where, w * (enthalpy - mean[where]) ** 2, n_c) / safe
        ln_z = np.where(seen, top + np.log(safe), np.nan) + constant
        found["free_energy"][t] = -ln_z / beta / n_sites
        found["energy"][t] = np.where(seen, mean / n_sites, np.nan)
        found["heat_capacity"][t] = np.where(seen, beta**2 * variance / n_sites, np.nan)
    return found


def _weights(solution: Solution, beta: float, n_c: int) -> tuple[np.ndarray, np.ndarray]:
    """e^{−βH}/D of every draw over the largest of its composition, and ln of the largest."""
    with np.errstate(divide="ignore"):
        log = np.log(solution.multiplicity) - solution.log_mixture - beta * solution.enthalpy
    top = np.full(n_c, -np.inf)
    np.maximum.at(top, solution.composition, log)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(log), np.exp(log - top[solution.composition]), 0.0), top


def _rested_on(pool: Pool, solution: Solution, kelvin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Effective draws, and the share of chains that did not converge, [n_t, n_compositions]."""
    n_c, where = len(pool.compositions), pool.composition
    doubt = ~pool.converged[pool.state]
    kish, share = np.zeros((2, len(kelvin), n_c))
    for t, temperature in enumerate(kelvin):
        w, _ = _weights(solution, 1.0 / (kB * temperature), n_c)
        total = np.bincount(where, w, n_c)
        safe = np.where(total > 0, total, 1.0)
        kish[t] = total**2 / np.where(total > 0, np.bincount(where, w**2, n_c), 1.0)
        share[t] = np.bincount(where, w * doubt, n_c) / safe
    return kish, share


def _reached(pool: Pool, kish: np.ndarray, kelvin: np.ndarray) -> None:
    """Refuse temperatures at which single draws carry the weight of nearly every composition."""
    visits = np.bincount(pool.composition, minlength=kish.shape[1])
    repeated = np.maximum(kish - 1.0, 0.0).sum(axis=1) / max(float((visits - 1.0).sum()), 1.0)
    total = kish.sum(axis=1)
    worst = int(np.minimum(repeated / LEAST_REPEATED, total / LEAST_AT_TEMPERATURE).argmin())
    if total[worst] < LEAST_AT_TEMPERATURE or repeated[worst] < LEAST_REPEATED:
        raise ConvergenceError(
            f"only {total[worst]:.2g} effective draws speak of {kelvin[worst]:g} K, for "
            f"{(kish[worst] > 0).sum()} compositions: sample nearer to it, or ask for another "
            "temperature"
        )


def _closure(  # noqa: PLR0917
    whole: Pool,
    anchors: Sequence[Anchor],
    groups: Sequence[Pool],
    values: Mapping[str, np.ndarray],
    replicates: Mapping[str, np.ndarray],
    kelvin: np.ndarray,
) -> tuple[str, ...]:
    """Compare F of a second pure composition with its energy, which it must be."""
    pure = ln_arrangements(whole.observed, whole.compositions) == 0.0
    found = []
    for anchor, pool in zip(anchors, groups, strict=True):
        for c in np.unique(pool.composition) if anchor.kind == "pure" else ():
            if not pure[c] or c == anchor.composition:
                continue
            apart = values["free_energy"][:, c] - values["energy"][:, c]
            error = error_of(replicates["free_energy"][:, :, c])
            with np.errstate(invalid="ignore", divide="ignore"):
                z = np.abs(apart) / error
            if not np.nanmax(z, initial=0.0) <= MOST_APART:
                t = int(np.nanargmax(z))
                found.append(
                    f"At {kelvin[t]:,.6g} K F of the pure composition "
                    f"{whole.compositions[c].tolist()} is off its energy by "
                    f"{with_error(1e3 * apart[t], 1e3 * error[t])} meV per site: errors are too "
                    "small, or a point was sampled in another phase."
                )
    return tuple(found)


def _hung_on(anchors: Sequence[Anchor]) -> str:
    words = {
        "pure": "the constant from a pure composition",
        "zero": "the constant from random arrangements, β = 0",
        "hot": "the constant from a point that reaches β = 0",
        "none": "relative to one another",
    }
    return " and ".join(words[kind] for kind in dict.fromkeys(a.kind for a in anchors))


def _notes(pool: Pool) -> tuple[str, ...]:
    doubtful = [label for label, fine in zip(pool.labels, pool.converged, strict=True) if not fine]
    if not doubtful:
        return ()
    number = f"{len(doubtful)} of {counted(len(pool.labels), 'point')}"
    return (f"At {number} the chains did not converge, first at {doubtful[0]}.",)
