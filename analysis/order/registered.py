"""Site-resolved long-range order, after every sample is turned into one antiphase variant."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ...errors import InputError
from ...lattice import Lattice
from ...sublattice import is_whole
from ..estimates import as_chains, blocks_of_draws, describe, sites_of
from ..wording import with_error
from .commensurate import NAMED_ORDERS, ordering_vector
from .statements import doubt
from .stretches import Stretches

__all__ = ["Variants", "ordered_arrangement", "site_order", "variants_of"]

MOST_VARIANTS = 20_000


class Variants(NamedTuple):
    """The equivalent copies of an ordered arrangement.

    ``reference`` int8 [n_sites]. ``occupations`` int8 [n_variants, n_sites], the reference first.
    ``permutations`` int64 [n_variants, n_sites]: ``occupations[v]`` is the reference, its species
    exchanged by ``exchanges[v]`` (int8 [n_variants, n_sites, n_species_max], from the reference's
    species to the variant's), read at ``permutations[v]``.
    """

    reference: np.ndarray
    occupations: np.ndarray
    permutations: np.ndarray
    exchanges: np.ndarray

    def registered(self, flat: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Occupations [n, n_sites] turned back from variant ``which`` [n] into the reference."""
        inverse = np.argsort(self.permutations, axis=1)[which]
        turned = np.take_along_axis(flat, inverse, axis=1)
        back = np.argsort(self.exchanges, axis=2)[which]
        return np.take_along_axis(back, turned[..., None].astype(np.int64), axis=2)[..., 0]


def ordered_arrangement(lattice: Lattice, order: str, sublattice: str | None = None) -> np.ndarray:
    """Return an occupation of perfect named order, int8 [n_sites]: two species in equal shares.

    The first two species of the sublattice are taken; other sublattices hold their first species.

    Raises
    ------
    InputError
        If the order is unknown, does not fit the cell, or needs a second species.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> ordered_arrangement(lattice, "rock-salt").tolist()
    [0, 1, 1, 0, 1, 0, 0, 1]
    """
    if order not in NAMED_ORDERS:
        raise InputError(
            f"order {order!r} is unknown; the names are {', '.join(NAMED_ORDERS)}, or give an "
            "occupation as the reference"
        )
    wave = ordering_vector(lattice, order, sublattice)
    if len(lattice.sublattices[wave.sublattice].species) < 2:
        raise InputError(f"sublattice {wave.sublattice!r} holds one species and cannot be ordered")
    result = np.zeros(lattice.n_sites, dtype=np.int8)
    signs = wave.phases[0].real * wave.phases[0].real[0]
    result[sites_of(lattice, wave.sublattice)] = signs < 0
    return result


def variants_of(
    lattice: Lattice, reference: np.ndarray, *, symmetry: str = "full", exchange: bool = False
) -> Variants:
    """List the copies of an ordered arrangement that the crystal's symmetry makes equivalent.

    Parameters
    ----------
    lattice
        The lattice; its symmetry takes all species of a sublattice for alike.
    reference
        An ordered occupation [n_sites].
    symmetry
        "full": all operations that keep the supercell; "translations" alone, to tell orientations
        apart.
    exchange
        Also exchange species that the reference holds equally often on a sublattice. They are
        other phases of the same crystal only if an operation does the same, as in rock-salt order
        at 50:50; where it does not (a spinel), the exchanged arrangement is another order.

    Raises
    ------
    InputError
        If there are too many variants, or the reference is none of the lattice.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> [len(variants_of(lattice, ordered_arrangement(lattice, name)).occupations)
    ...  for name in ("rock-salt", "layered", "columnar")]
    [2, 6, 6]
    """
    reference = lattice.check(np.asarray(reference))
    if reference.ndim != 1:
        raise InputError(f"the reference has shape {reference.shape}; give one occupation")
    generators = _generators(lattice, symmetry)
    identity = np.tile(np.arange(lattice.n_species_max, dtype=np.int8), (lattice.n_sites, 1))
    tables = [identity, *(_exchanges(lattice, reference) if exchange else [])]
    found: dict[bytes, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    for table in tables:
        exchanged = table[np.arange(lattice.n_sites), reference]
        if exchanged.tobytes() not in found:
            _add_orbit(found, exchanged, table, generators)
    occupations, chosen, exchanges = zip(*found.values(), strict=True)
    return Variants(reference, np.array(occupations), np.array(chosen), np.array(exchanges))


def _generators(lattice: Lattice, symmetry: str) -> list[np.ndarray]:
    """Permutations of the sites that generate the others: all of them may be too many."""
    if symmetry not in {"full", "translations"}:
        raise InputError(f"symmetry is {symmetry!r}; give 'full' or 'translations'")
    return list(lattice.symmetry_generators(translations_only=symmetry == "translations"))


def _add_orbit(
    found: dict[bytes, tuple[np.ndarray, np.ndarray, np.ndarray]],
    start: np.ndarray,
    table: np.ndarray,
    generators: list[np.ndarray],
) -> None:
    """Add an arrangement and all that the generators make of it, with their permutations."""
    found[start.tobytes()] = (start, np.arange(len(start)), table)
    open_ones = [start.tobytes()]
    while open_ones:
        occupation, permutation, _ = found[open_ones.pop()]
        for generator in generators:
            copy = occupation[generator]
            key = copy.tobytes()
            if key not in found:
                found[key] = (copy, permutation[generator], table)
                open_ones.append(key)
        if len(found) > MOST_VARIANTS:
            raise InputError(
                f"the reference has more than {MOST_VARIANTS} equivalent copies; give a more "
                "ordered one, or symmetry='translations'"
            )


def _exchanges(lattice: Lattice, reference: np.ndarray) -> list[np.ndarray]:
    """Tables [n_sites, n_species_max] that permute species of equal number, but the identity."""
    counts = lattice.counts(reference)
    choices = []
    for s, name in enumerate(lattice.names):
        n = len(lattice.sublattices[name].species)
        rows = [p for p in permutations(range(n)) if all(counts[s, p] == counts[s, :n])]
        choices.append([np.array([*p, *range(n, lattice.n_species_max)]) for p in rows])
    tables = []
    for combination in product(*choices):
        table = np.array(combination, dtype=np.int8)[lattice.sublattice_of_site]
        if (table != np.arange(lattice.n_species_max)).any():
            tables.append(table)
    return tables


def site_order(
    lattice: Lattice,
    occupations: xr.DataArray | np.ndarray,
    reference: str | np.ndarray = "rock-salt",
    sublattice: str | None = None,
    *,
    symmetry: str = "full",
    exchange: bool = False,
    seed: int = 0,
    n_random: int = 400,
) -> xr.Dataset:
    r"""Occupation of every site and order of every class of sites, relative to a reference order.

    Chains cross between the equivalent variants of an ordered phase (the two antiphase variants of
    rock-salt order, the six of the layered one), so that plain averages over draws show every site
    equally occupied. Each draw is therefore turned into the variant of the reference that it agrees
    with on most sites (of several equally good ones the first), and averages are taken there. The
    sites that hold species a in the reference, within one class of the lattice, form a class; its
    order is ``η = (p_a − c_a)/(1 − c_a)`` with p_a the fraction of its sites that hold a, and c_a
    the concentration on the sublattice (W. L. Bragg and E. J. Williams, Proc. R. Soc. Lond. A 145,
    699 (1934), doi:10.1098/rspa.1934.0132): 1 when perfect.

    The best of several variants is above zero for any arrangement: in a disordered crystal η is
    not 0 but falls as 1/√N with the number of sites. ``random`` is its mean over random
    arrangements of the same counts; compare with that, and with several sizes.

    Parameters
    ----------
    lattice
        The lattice.
    occupations
        Shape [draw, chain, n_sites], [n_replicas, n_sites] or [n_sites].
    reference
        An occupation [n_sites], or the name of an order of a simple cubic net (its first two
        species in equal shares).
    sublattice
        The sublattice that is registered and measured; may be left out if there is only one.
    symmetry, exchange
        As for `variants_of`.
    seed, n_random
        For ``random``: PCG64(seed) draws that many arrangements.

    Returns
    -------
    Dataset with ``mean``, ``error``, ``ess``, ``rhat``, ``converged``, ``random`` and
    ``random_error`` of η over ``class`` (coordinates ``species_of_class`` and ``n_sites``);
    ``occupancy`` and ``occupancy_error`` over (site, species), in the order of the sublattice's
    sites, with the coordinate ``class_of_site``; and ``overlap`` with ``overlap_error``, the
    fraction of sites that agree with the best variant. The error of an occupancy is that of the
    means of long stretches of draws, NaN where there are fewer than eight.

    Raises
    ------
    InputError
        If the reference is unknown or none of the lattice, or its copies are too many.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> perfect = ordered_arrangement(lattice, "rock-salt")
    >>> both = np.array([perfect, 1 - perfect] * 4)[:, None]  # a chain that hops between variants
    >>> found = site_order(lattice, both)
    >>> found["mean"].values.tolist(), found["occupancy"].sel(species="Sc").values.tolist()
    ([1.0, 1.0], [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    """
    for what, value, least in (("n_random", n_random, 1), ("seed", seed, 0)):
        if not is_whole(value, least=least):
            raise InputError(f"{what} is {value!r}; give a whole number of at least {least}")
    if isinstance(reference, str):
        reference = ordered_arrangement(lattice, reference, sublattice)
    name = _one_sublattice(lattice, sublattice)
    variants = variants_of(lattice, reference, symmetry=symmetry, exchange=exchange)
    sites = sites_of(lattice, name)
    measure = _Measure(lattice, variants, sites, len(lattice.sublattices[name].species))
    chains = as_chains(lattice, occupations)
    n_draws, n_chains = chains.shape[:2]
    eta = np.empty((n_draws, n_chains, measure.n_classes))
    overlap = np.empty((n_draws, n_chains))
    held = Stretches(n_draws, n_chains, (len(sites), measure.n_species))
    for block, flat in blocks_of_draws(lattice, chains):
        turned, agree = measure.registered(flat)
        overlap[block] = agree.reshape(-1, n_chains)
        eta[block] = measure.order(turned).reshape(-1, n_chains, measure.n_classes)
        held.add(block, np.eye(measure.n_species)[turned])
    first = np.asarray(chains[0, 0])
    random = _random(measure, first, np.random.Generator(np.random.PCG64(seed)), n_random)
    return _table(lattice, name, measure, eta, overlap, held, random)


class _Measure:
    """Registration of configurations and the order of classes."""

    def __init__(
        self, lattice: Lattice, variants: Variants, sites: np.ndarray, n_species: int
    ) -> None:
        self.sites, self.n_species, self._variants = sites, n_species, variants
        held = variants.reference[sites]
        label = np.stack([lattice.classes[sites], held], axis=1)
        kinds, self.of_site = np.unique(label, axis=0, return_inverse=True)
        self.of_site = self.of_site.ravel()
        self.n_classes = len(kinds)
        self.species = kinds[:, 1]
        self._patterns = variants.occupations[:, sites]
        self._right = held

    def registered(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Species on the sublattice in the reference's frame [n, n_own], and agreement [n]."""
        own = flat[:, self.sites]
        score = np.zeros((len(flat), len(self._patterns)))
        for k in range(self.n_species):
            score += (own == k).astype(float) @ (self._patterns == k).astype(float).T
        best = score.argmax(axis=1)
        turned = self._variants.registered(flat, best)[:, self.sites]
        return turned, score[np.arange(len(flat)), best] / len(self.sites)

    def order(self, turned: np.ndarray) -> np.ndarray:
        """η of every class [n, n_classes]."""
        right = turned == self._right
        result = np.empty((len(turned), self.n_classes))
        for c, species in enumerate(self.species.tolist()):
            share = (turned == species).mean(axis=1)
            inside = right[:, self.of_site == c].mean(axis=1)
            with np.errstate(divide="ignore", invalid="ignore"):
                result[:, c] = (inside - share) / (1.0 - share)
        return result


def _one_sublattice(lattice: Lattice, sublattice: str | None) -> str:
    if sublattice is not None and sublattice in lattice.names:
        return sublattice
    if sublattice is None and len(lattice.names) == 1:
        return lattice.names[0]
    raise InputError(
        f"sublattice {sublattice!r} is none of {', '.join(lattice.names)}; say whose order is "
        "meant with sublattice=…"
    )


def _random(
    measure: _Measure, first: np.ndarray, rng: np.random.Generator, n_random: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean η of random arrangements with the counts of one sample, and its error, [n_classes]."""
    drawn = np.repeat(first[None], n_random, axis=0)
    drawn[:, measure.sites] = rng.permuted(drawn[:, measure.sites], axis=1)
    values = measure.order(measure.registered(drawn)[0])
    return values.mean(axis=0), values.std(axis=0) / np.sqrt(len(values))


def _table(  # noqa: PLR0917
    lattice: Lattice,
    name: str,
    measure: _Measure,
    eta: np.ndarray,
    overlap: np.ndarray,
    held: Stretches,
    random: tuple[np.ndarray, np.ndarray],
) -> xr.Dataset:
    species: Sequence[str] = lattice.sublattices[name].species
    labels = [species[k] for k in measure.species]
    coords: dict[str, Any] = {
        "class": np.arange(measure.n_classes),
        "species_of_class": ("class", labels),
        "n_sites": ("class", np.bincount(measure.of_site)),
    }
    attrs = {"long_name": "Bragg–Williams order parameter", "units": "1", "sublattice": name}
    result = describe(
        xr.DataArray(eta, dims=("draw", "chain", "class"), coords=coords, attrs=attrs)
    )
    result["random"], result["random_error"] = (("class", values) for values in random)
    agreement = describe(xr.DataArray(overlap, dims=("draw", "chain")))
    result["overlap"], result["overlap_error"] = agreement["mean"], agreement["error"]
    mean, error = held.estimates()
    result = result.assign_coords(
        site=measure.sites, species=list(species), class_of_site=("site", measure.of_site)
    )
    result.attrs["statement"] = _statement(result)
    result["occupancy"] = (("site", "species"), mean)
    result["occupancy_error"] = (("site", "species"), error)
    return result


def _statement(table: xr.Dataset) -> str:
    parts = [
        f"{with_error(float(row['mean']), float(row['error']))} on the sites of "
        f"{row['species_of_class'].item()} ({float(row['random']):.3g} in random arrangements)"
        for row in (table.isel({"class": c}) for c in range(table.sizes["class"]))
        if np.isfinite(row["mean"])
    ]
    if not parts:
        return (
            "Relative to the reference order, η has no value: draws hold a single species on "
            f"sublattice {table.attrs['sublattice']!r}."
        )
    return (
        f"Relative to the reference order, η is {'; '.join(parts)}; perfect order is 1, and the "
        f"best of the variants is above 0 for any arrangement.{doubt(table)}"
    )
