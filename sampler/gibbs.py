"""Swaps and flips informed by the alchemical gradient (Gibbs with gradients)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from ..errors import InputError
from ..protocols import Ensemble, Generators, Hamiltonian, Info, State
from ..sublattice import is_whole, shown
from ._composition import flippable_sites, move_of
from ._correction import FlipTerms, PairCorrection, SwapTerms, energy_slopes
from ._flips import GradientFlips
from ._kernel import KernelBase
from ._metropolis import draw_uniforms, evaluate_where, settle, with_gradient
from ._swaps import FactorisedSwaps, PairwiseSwaps, Swap, apply_swap, flip_field

__all__ = ["GibbsWithGradients"]

Choice = FactorisedSwaps | PairwiseSwaps | GradientFlips

_SWAPS: dict[str, type[FactorisedSwaps | PairwiseSwaps]] = {
    "sqrt": FactorisedSwaps,
    "barker": PairwiseSwaps,
}


@dataclass(frozen=True)
class GibbsWithGradients(KernelBase):
    r"""Swap two unlike sites, or flip one, drawn by a locally balanced function of the gradient.

    With f the log density, g_ik = ∂f/∂λ_ik and the flip field h_ik = g_ik − g_i,σ(i), swapping
    sites i and j, which hold a and b, is estimated to change f by

    .. math:: d_{ij} = h_{ib} + h_{ja} + s \Big(C_{ab} + \sum_n m_n(i,j)\, W_{n,ab}\Big).

    The bracket is the second-order part of the energy, in eV: C holds the curvature of the two
    sites by themselves, W_n minus their mixed derivative at the distance of shell n, and m_n counts
    the images of j in that shell around i; s is the slope of f in the energy, −β. C is one constant
    per sublattice and pair of species, W one per shell besides. They are 0 at first, are fitted to
    the exact changes of the moves proposed in warm-up, and are then frozen.

    The swap is proposed with

    .. math:: q(y|x) = w(d_{ij}(x))/Z(x), \qquad Z(x) = \sum_{\text{unlike } i,j} w(d_{ij}(x)),

    w(d) = exp(d/2) (``balancing="sqrt"``) or exp(d)/(1 + exp(d)) (``"barker"``); both obey
    w(d) = exp(d) w(−d), so that the proposal alone is nearly reversible where d is right
    (Zanella 2020, doi:10.1080/01621459.2019.1585255; Grathwohl et al. 2021, arXiv:2102.04509).
    In ensembles whose composition fluctuates the move is a flip of one site i from a to k, with
    d = h_ik + s C_ak, weighed in the same way over all sites and species; C is one constant per
    sublattice and ordered pair of species.

    What d gets wrong is repaired by

    .. math:: α = \min(1, e^{f(y) − f(x)} q(x|y)/q(y|x)),

    where q(x|y) = w(d_ij(y))/Z(y) takes the gradient at y. So the chain is exact however poor the
    gradient and its correction are. The gradient at an accepted y is the next step's forward
    gradient.

    One energy with gradient per replica and step (one more after another kernel of a mixture has
    moved the replica). Four random numbers per replica and step. The choice of a swap costs
    O(n_sites · neighbours) per pair of species for ``sqrt``: with u_i(k) = exp(h_ik/2), the weights
    of a site i that holds a, over the j that hold b, sum to
    e^{sC/2} u_i(b) [Σ_j u_j(a) + Σ_{near j} u_j(a) (e^{s m·W/2} − 1)], and Σ_j is shared by all i.
    It costs O(n_sites²) for ``barker``, and that of a flip O(n_sites · n_species).

    Tuning is a ridge regression of (exact − first-order change)/s on C and W over all moves of the
    warm-up so far. The ridge is the variance that the fit leaves over, divided by (1 eV)² for the
    constants and by (0.1 eV)² for the pair terms; a parameter that no move has shown stays 0.

    Not guaranteed: fewer evaluations per independent sample than random swaps. Close to a
    low-energy arrangement the best swap is often the one that leads straight back. Not corrected:
    species pairs whose first-order estimate is so pessimistic that warm-up never proposes them.

    Parameters
    ----------
    hamiltonian
        Energy model with ``energy_and_gradient``.
    ensemble
        Target density.
    balancing
        ``"sqrt"`` or ``"barker"``.
    move
        ``"swap"`` or ``"flip"``; by default a flip where the ensemble has free sites (of which
        alone it is drawn) and a swap elsewhere.
    shells
        Neighbour shells with a pair term, by distances at the reference positions; 0 for the
        constants alone, None for no correction at all. Flips have no pair terms.

    Raises
    ------
    InputError
        If ``balancing`` or ``move`` is neither, flips are asked for where the ensemble has no free
        sites, or ``shells`` is no number of shells.

    Examples
    --------
    >>> from alchemc import Canonical, builders, sampler
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 2, 2))
    >>> class Field:  # Sc costs 0.1 eV on every second site
    ...     def __init__(self, lattice):
    ...         self.lattice = lattice
    ...         self.slopes = np.zeros((lattice.n_sites, 2))
    ...         self.slopes[::2, 0] = 0.1
    ...     def energy_and_gradient(self, occupations):
    ...         energy = (self.slopes * self.lattice.weights(occupations)).sum(axis=(1, 2))
    ...         return energy, np.broadcast_to(self.slopes, (len(energy), *self.slopes.shape))
    >>> kernel = sampler.GibbsWithGradients(Field(lattice), Canonical(lattice, 300.0))
    >>> rngs = sampler.spawn_generators(seed=1, n_chains=1)
    >>> start = np.array([[0, 1, 0, 1, 0, 1, 0, 1]])
    >>> state, info = kernel.step(kernel.init(start, rngs), rngs)
    >>> info.estimated_change.round(3), info.log_density_change.round(3)  # ΔE = −0.1 eV
    (array([3.868]), array([3.868]))
    """

    balancing: str = "sqrt"
    move: str | None = None
    shells: int | None = 3
    _correction: PairCorrection | None = field(default=None, repr=False, compare=False)
    _choice: Choice = field(init=False, repr=False, compare=False)

    uses_gradient: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.shells is not None and not is_whole(self.shells, least=0):
            raise InputError(
                f"shells is {shown(self.shells)}; give a whole number of neighbour shells (0 for "
                "the constants alone), or None for no correction"
            )
        choice = choice_of(self.hamiltonian, self.ensemble, self.balancing, self.move)
        object.__setattr__(self, "_choice", choice)
        object.__setattr__(self, "_correction", self._correction_for(choice))

    def step(self, state: State, rngs: Generators) -> tuple[State, Info]:
        """Propose one informed move per replica, and accept or refuse it."""
        uniforms = draw_uniforms(rngs, 4)
        state, unknown = with_gradient(self.hamiltonian, state)
        choice, flips = self._informed(state)
        swap = choice.draw(flips, state.occupations, uniforms[:, :3])
        movable = swap.sites[:, 0] >= 0
        occupations = apply_swap(state.occupations, swap)
        there = evaluate_where(
            movable, self.hamiltonian, occupations, True, (state.energy, state.gradient)
        )
        proposed = State(occupations, *there)
        held = np.take_along_axis(state.occupations, np.maximum(swap.sites, 0), axis=1)
        back = swap._replace(species=held)
        settled, info = settle(
            state,
            proposed,
            swap,
            log_density=self.ensemble.log_density,
            log_hastings=self._log_reverse(proposed, back) - swap.log_probability,
            uniforms=uniforms[:, 3],
        )
        estimate = choice.estimate(flips, swap.sites, swap.species)
        return settled, info._replace(
            estimated_change=np.where(movable, estimate, np.nan),
            gradient_calls=unknown.astype(np.int64) + movable,
        )

    def tuned(self, infos: Sequence[Info]) -> GibbsWithGradients:
        """Return the kernel with its correction fitted to these moves too."""
        if self._correction is None:
            return self
        return replace(self, _correction=self._correction.refined(infos, self.ensemble))

    def summary(self) -> dict[str, Any]:
        """Return the correction in eV by pair of species, and how many moves it was fitted to."""
        return {} if self._correction is None else self._correction.summary()

    def to_arrays(self) -> dict[str, Any]:
        """Return the correction and the normal equations that it solves, as lists."""
        return {} if self._correction is None else self._correction.to_arrays()

    def with_arrays(self, arrays: Mapping[str, Any]) -> GibbsWithGradients:
        """Return the kernel with the correction that ``to_arrays`` gave."""
        if self._correction is None or not arrays:
            return self
        return replace(self, _correction=self._correction.with_arrays(arrays))

    def _correction_for(self, choice: Choice) -> PairCorrection | None:
        """Return the correction at hand if it fits lattice, move and shells, else one of zeros."""
        if self.shells is None:
            return None
        lattice, held = self.hamiltonian.lattice, self._correction
        flips = isinstance(choice, GradientFlips)
        shells = 0 if flips else self.shells
        if held is not None and held.suits(lattice, flips, shells):
            return held
        return PairCorrection.none(FlipTerms(lattice) if flips else SwapTerms(lattice, shells))

    def _informed(self, state: State) -> tuple[Choice, np.ndarray]:
        """Choice of a move at ``state``, and the flip field [n_replicas, n_sites, n_species_max].

        The constants of the correction are part of the field, its pair terms of the choice.
        """
        gradient = self.ensemble.log_density_gradient(state.gradient, state.occupations)
        flips = flip_field(gradient, state.occupations)
        if self._correction is None:
            return self._choice, flips
        slopes = energy_slopes(self.ensemble, len(flips))
        flips = flips + self._correction.field_shift(state.occupations, slopes)
        near = self._correction.near(slopes)
        if near is None or isinstance(self._choice, GradientFlips):
            return self._choice, flips
        return self._choice.with_near(near), flips

    def _log_reverse(self, proposed: State, back: Swap) -> np.ndarray:
        """Return log q(x|y), the move back weighed with the gradient at y."""
        choice, flips = self._informed(proposed)
        return choice.log_probability(flips, proposed.occupations, back.sites, back.species)


def choice_of(
    hamiltonian: Hamiltonian, ensemble: Ensemble, balancing: str, move: str | None
) -> FactorisedSwaps | PairwiseSwaps | GradientFlips:
    """Weighted choice of a swap or of a flip, whichever the ensemble calls for.

    Raises
    ------
    InputError
        If the balancing or the move is not known, or flips would change what is fixed.
    """
    if balancing not in _SWAPS:
        raise InputError(f"balancing {balancing!r} is not known: use 'sqrt' or 'barker'")
    lattice = hamiltonian.lattice
    if move_of(ensemble, lattice, move) == "swap":
        return _SWAPS[balancing](lattice)
    return GradientFlips(lattice, balancing, flippable_sites(ensemble, lattice))
