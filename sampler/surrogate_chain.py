"""Long chains of a compiled surrogate, each accepted or refused by one energy of the model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..potentials.lattice_hamiltonian import LatticeHamiltonian
from ..potentials.pair_expansion import PairExpansion
from ..protocols import Ensemble, Generators, Hamiltonian, Info, Kernel, State
from ..sublattice import is_whole, shown
from ..tuning import learn
from ._composition import natural_moves, refuse_flips
from ._correction import energy_slopes
from ._inner_chain import FEWEST_SWEEPS, InnerChain, InnerKernel, nearest_sites, two_patches
from ._kernel import KernelBase
from ._metropolis import draw_uniforms, evaluate, evaluate_where, settle
from ._surrogate_fit import (
    Lessons,
    Quality,
    begin,
    energy_correction,
    field_at_mean,
    with_field,
    with_response,
)
from ._swaps import net_change
from .mixture import Mixture
from .path_auxiliary import PathAuxiliary
from .table_exchange import TableExchange

__all__ = ["SurrogateChain"]

WHOLE_CELL_ACCEPTANCE = 0.15  # below this, regions cost less than whole cells
TARGET_ACCEPTANCE = 0.6
SMALLEST_REGION = 4
ENOUGH_ENERGIES = 24  # before a surrogate is called hopeless


@dataclass(frozen=True)
class SurrogateChain(KernelBase):
    r"""Run many steps of a compiled surrogate, then accept or refuse them by one energy.

    With f the ensemble's log density of the model's energy E and f_S that of the surrogate's energy
    S in its place, an inner chain reversible for exp(f_S) goes from x to y, and

    .. math:: α = \min\big(1, \exp([f(y) − f_S(y)] − [f(x) − f_S(x)])\big).

    The inner chain obeys exp(f_S(x)) K(x → y) = exp(f_S(y)) K(y → x) also over many steps, so that
    its Hastings factor is exp(f_S(x) − f_S(y)), and the outer chain is exact for E, however poor S
    is (delayed acceptance: Christen and Fox 2005, doi:10.1198/106186005X76983). All terms of the
    ensemble are exact in the inner chain. S, the number of inner steps and the region do not depend
    on x; inner sites are drawn at random. The inner moves are those that the ensemble calls for:
    swaps, flips, flips and swaps where some sublattices keep their counts, or exchanges of
    `TableExchange` and swaps where the charge is kept; two kinds follow one another in a palindrome
    (A…AB…BB…BA…A), which keeps the chain reversible. With acceptance a, successive states of
    independent proposals decorrelate in no less than τ = (2 − a)/a steps.

    Without a ``surrogate`` it is learnt in warm-up and then frozen:

    1. Where the energy model has Hessian products and sits on undisplaced positions, S is its
       `taylor_expansion` at the mean composition of the starts. Elsewhere S is fitted to gradients:
       those at the starts and at the first few proposals give couplings by distance, a field on
       every site, and for the nearest pairs couplings of their own.
    2. Energies of the proposals set the size: a ridge regression of E − S on S and on couplings by
       distance, made anew whenever the data have grown by two fifths, its strength chosen by
       leaving out one energy at a time. Those left-out errors are kept: ``quality``.
    3. The inner chain is made four times as long as its energy and its order remember (50 to 4,000
       sweeps). Where moves of the whole cell would be accepted less than once in seven times, a
       random region moves instead: two patches around two sites drawn at random, so that
       composition moves any distance, of a size that leads to an acceptance of 0.6.
    4. Where even a few sites are refused, the surrogate is hopeless: the kernel says so and goes on
       as `PathAuxiliary` (``fallback``), of both moves or with `TableExchange` where the ensemble
       calls for two.

    One energy per replica and step; in warm-up also a few gradients and Hessian products, which its
    report counts.

    Parameters
    ----------
    hamiltonian
        Energy model.
    ensemble
        Target density.
    surrogate
        Lattice Hamiltonian on the same lattice, taken as it is; None to learn one in warm-up.
    sweeps
        Inner steps per site of the cell or region; None to choose in warm-up (50 without one).
        Exchanges, which are not compiled, number two per site at most.
    region
        Sites that move at once; None for the whole cell, or to choose in warm-up where the
        surrogate is learnt.
    move
        ``"swap"`` or ``"flip"`` alone; by default whatever the ensemble calls for.
    inner
        Function of an energy model and an ensemble that makes the inner kernel, for ensembles in
        which single swaps or flips do not do. It must be reversible for its density: one move drawn
        at random and accepted by Metropolis–Hastings is, a sweep through the sites in order is not.

    Raises
    ------
    InputError
        If the surrogate is on another lattice, a number cannot be used, flips are asked for where
        the ensemble has no free sites, or a region is asked for with an inner kernel of one's own.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import AlchemicalMACE, Canonical, SurrogateChain, builders, sample
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 2, 2))
    >>> mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    >>> kernel = SurrogateChain(mace, Canonical(lattice, temperature=8000.0))
    >>> start = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(1))
    >>> run = sample(kernel, start, n_steps=50, n_replicas=2, warmup=10, seed=1)
    >>> run.samples.acceptance.mean().item() > 0.8
    True
    """

    surrogate: LatticeHamiltonian | None = None
    sweeps: int | None = None
    region: int | None = None
    move: str | None = None
    inner: InnerKernel | None = None
    fallback: PathAuxiliary | Mixture | None = field(default=None, repr=False, compare=False)
    quality: Quality = field(default_factory=Quality, repr=False, compare=False)
    _lessons: Lessons | None = field(default=None, repr=False, compare=False)
    _anchor: PairExpansion | None = field(default=None, repr=False, compare=False)
    _asked: tuple[int | None, int | None] | None = field(default=None, repr=False, compare=False)
    _near: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lattice = self.hamiltonian.lattice
        if self._asked is None:  # what is chosen in warm-up is chosen anew; what was given is not
            object.__setattr__(self, "_asked", (self.sweeps, self.region))
        if self.surrogate is not None and self.surrogate.lattice != lattice:
            raise InputError(
                "the surrogate's lattice differs from the energy model's: build both from one "
                "Lattice (PairExpansion.on moves an expansion to another cell)"
            )
        for name, value, most in (("sweeps", self.sweeps, None), ("region", self.region, "sites")):
            if value is not None and not is_whole(value, least=1):
                raise InputError(f"{name} is {shown(value)}; give a whole number, 1 or more")
            if value is not None and most and value > lattice.n_sites:
                raise InputError(
                    f"region is {value} sites of {lattice.n_sites}; give fewer, or None for all"
                )
        if self.move not in (None, "swap", "flip"):
            raise InputError(f"move {self.move!r} is not known: use 'swap' or 'flip'")
        if self.move == "flip":
            refuse_flips(self.ensemble, lattice, instead="swaps")
        if self.region is not None and self.inner is not None:
            raise InputError("a region needs the inner kernels of its own: leave out inner")
        if self.region == 1 and self._moves == ("swap",):
            raise InputError("a region of 1 site has nothing to swap: give 2 or more")
        near = np.zeros((0, 0), dtype=np.int32)
        if self.region is not None:
            near = nearest_sites(lattice, self.region)
        object.__setattr__(self, "_near", near)

    # ---- steps -----------------------------------------------------------------------------

    def init(self, occupations: np.ndarray, rngs: Generators) -> State:
        """State of chains at ``occupations`` [n_replicas, n_sites]; one energy per replica."""
        if self.fallback is not None:
            return self.fallback.init(occupations, rngs)
        return super().init(occupations, rngs)

    def step(self, state: State, rngs: Generators) -> tuple[State, Info]:
        """Run the inner chain of every replica, and accept or refuse where it came to."""
        if self.fallback is not None:
            return self.fallback.step(state, rngs)
        settled, info, _ = self._step(state, rngs, gradient=False)
        return settled, info

    def _step(self, state: State, rngs: Generators, *, gradient: bool) -> tuple[State, Info, State]:
        """One step, and the states it proposed."""
        if self.surrogate is None:
            raise InputError(
                "the surrogate is not learnt yet: give sample(..., warmup=25) or so, or a surrogate"
            )
        before, uniforms = state.occupations, draw_uniforms(rngs, 3)
        after = self._walk(before, self._regions(uniforms[:, 1:]), rngs)
        moved = (after != before).any(axis=1)
        known = (state.energy, np.full_like(state.gradient, np.nan))
        found = evaluate_where(moved, self.hamiltonian, after, gradient, known)
        proposed = State(after, *found)
        expected = self.ensemble.log_density(
            self.surrogate.energy(after), after
        ) - self.ensemble.log_density(self.surrogate.energy(before), before)
        settled, info = settle(
            state, proposed, net_change(before, after, np.zeros(len(after)), before.shape[1]),
            log_density=self.ensemble.log_density,
            log_hastings=-expected,
            uniforms=uniforms[:, 0],
        )  # fmt: skip
        none = np.zeros(len(moved), dtype=np.int64)
        counted = info._replace(
            # An inner chain that comes back to where it began is no refusal.
            accepted=info.accepted | ~moved,
            acceptance_probability=np.where(moved, info.acceptance_probability, 1.0),
            estimated_change=np.where(moved, expected, np.nan),
            energy_calls=none if gradient else moved.astype(np.int64),
            gradient_calls=moved.astype(np.int64) if gradient else none,
        )
        return settled, counted, proposed

    def _walk(
        self, occupations: np.ndarray, sites: np.ndarray | None, rngs: Generators
    ) -> np.ndarray:
        """Occupations at the end of the inner chain."""
        assert self.surrogate is not None  # noqa: S101  (step)
        start = State(
            occupations, self.surrogate.energy(occupations),
            np.full((*occupations.shape, self.hamiltonian.lattice.n_species_max), np.nan),
        )  # fmt: skip
        moving = self.region or self.hamiltonian.lattice.n_sites
        steps = (self.sweeps or FEWEST_SWEEPS) * moving
        return self._inner_chain().run(start, rngs, steps, sites)

    def _inner_chain(self) -> InnerChain:
        assert self.surrogate is not None  # noqa: S101  (step)
        return InnerChain.of(self.surrogate, self.ensemble, self.move, self.inner)

    @property
    def _moves(self) -> tuple[str, ...]:
        """Kinds of the inner moves."""
        return natural_moves(self.ensemble) if self.move is None else (self.move,)

    def _regions(self, uniforms: np.ndarray) -> np.ndarray | None:
        """Sites that move, [n_replicas, region], from random numbers [n_replicas, 2] alone."""
        return None if self.region is None else two_patches(self._near, uniforms)

    # ---- other models, positions and stores ------------------------------------------------

    def rebind(
        self, *, hamiltonian: Hamiltonian | None = None, ensemble: Ensemble | None = None
    ) -> SurrogateChain:
        """Return the kernel, the surrogate kept, for another energy model or target."""
        fallback = self.fallback
        if fallback is not None:
            fallback = fallback.rebind(hamiltonian=hamiltonian, ensemble=ensemble)
        return replace(
            super().rebind(hamiltonian=hamiltonian, ensemble=ensemble), fallback=fallback
        )

    def carried_over(self, ensemble: Ensemble) -> SurrogateChain:
        """Return the kernel for another point of a campaign, with the latest of what it learnt."""
        lessons = None if self._lessons is None else self._lessons.latest()
        assert self._asked is not None  # noqa: S101  (__post_init__)
        sweeps = self.sweeps if lessons is not None else self._asked[0]
        kernel = replace(self, fallback=None, _lessons=lessons, sweeps=sweeps)
        return kernel.rebind(ensemble=ensemble)

    def refresh(self, state: State, hamiltonian: Hamiltonian) -> tuple[SurrogateChain, State]:
        """Return the kernel bound to ``hamiltonian`` and its state, after the positions moved.

        A learnt surrogate follows the positions R: its field changes by that of the gradient at the
        mean composition, g(λ̄; R), which does not depend on the occupation, so that the chain stays
        exact. One gradient beside the replicas' energies.
        """
        kernel = self.rebind(hamiltonian=hamiltonian)
        lessons, learnt = self._lessons, self._anchor or self.surrogate
        follows = isinstance(learnt, PairExpansion) and hasattr(hamiltonian, "mixed_energy")
        if self.fallback is None and lessons is not None and follows:
            assert isinstance(learnt, PairExpansion)  # noqa: S101
            change = field_at_mean(hamiltonian, lessons.mean) - lessons.known_field
            moved = with_field(learnt, change)
            kernel = replace(kernel, surrogate=moved, _anchor=learnt)
        energy, unknown = evaluate(hamiltonian, state.occupations, gradient=False)
        return kernel, State(state.occupations, energy, unknown)

    def summary(self) -> dict[str, Any]:
        """Return what the warm-up found, in plain numbers; it is stored with the run."""
        lessons = self._lessons
        f = self._log_density(self.quality.residuals)
        found = {
            "surrogate": "none" if self.surrogate is None else "given",
            "sweeps": self.sweeps,
            "region": self.region,
            "fallback": None if self.fallback is None else type(self.fallback).__name__,
        }
        if lessons is None:
            return found
        taylor = lessons.hessian_products > 0
        return found | {
            "surrogate": "Taylor expansion" if taylor else "fitted to gradients",
            "energies": len(lessons.energies),
            "gradients": lessons.gradient_calls,
            "hessian_products": lessons.hessian_products,
            "held_out_error_eV": self.quality.error if len(f) else None,
            "held_out_error_kT": float(np.sqrt(np.mean(f**2))) if len(f) else None,
            "expected_acceptance": self.quality.acceptance if len(f) else None,
        }

    def to_arrays(self) -> dict[str, Any]:
        """Return what was learnt and chosen."""
        stored: dict[str, Any] = {"quality": dict(vars(self.quality))}
        for name, value in (("sweeps", self.sweeps), ("region", self.region)):
            if value is not None:
                stored[name] = int(value)
        if self._lessons is not None:
            assert isinstance(self.surrogate, PairExpansion)  # noqa: S101  (learnt)
            stored["lessons"] = self._lessons.to_arrays()
            stored["surrogate"] = self.surrogate.to_arrays()
        if self._anchor is not None:
            stored["anchor"] = self._anchor.to_arrays()
        if self.fallback is not None:
            stored["fallback"] = self.fallback.to_arrays()
        return stored

    def with_arrays(self, arrays: Mapping[str, Any]) -> SurrogateChain:
        """Return the kernel with what ``to_arrays`` gave."""
        lattice, fallback = self.hamiltonian.lattice, None
        kernel = self
        if "lessons" in arrays:
            kernel = replace(
                kernel,
                _lessons=Lessons.from_arrays(arrays["lessons"]),
                surrogate=PairExpansion(lattice, **arrays["surrogate"]),
            )
        if "anchor" in arrays:
            kernel = replace(kernel, _anchor=PairExpansion(lattice, **arrays["anchor"]))
        if "fallback" in arrays:
            fallback = self._paths().with_arrays(arrays["fallback"])
        return replace(
            kernel, sweeps=arrays.get("sweeps"), region=arrays.get("region"), fallback=fallback,
            quality=Quality(**arrays["quality"]),
        )  # fmt: skip

    # ---- learning --------------------------------------------------------------------------

    def warm_up(
        self, state: State, rngs: Generators, n: int
    ) -> tuple[SurrogateChain, State, list[Info]]:
        """Run ``n`` steps that teach the surrogate, and return the kernel with what it learnt."""
        kernel = self
        infos: list[Info] = []
        if self._anchor is not None:  # what was learnt belongs to other positions
            kernel = replace(self, surrogate=None, _lessons=None, _anchor=None, quality=Quality())
        while len(infos) < n and kernel.fallback is None:
            kernel, state, info = kernel._learning_step(state, rngs)  # noqa: SLF001
            kernel = kernel._judged()  # noqa: SLF001
            infos.append(info)
        if kernel.fallback is not None:
            tuned, state, more = learn(kernel.fallback, state, rngs, n - len(infos))
            assert isinstance(tuned, PathAuxiliary | Mixture)  # noqa: S101
            kernel = replace(kernel, fallback=tuned)
            infos += more
        return kernel, state, infos

    def _learning_step(self, state: State, rngs: Generators) -> tuple[SurrogateChain, State, Info]:
        kernel, extra = self, 0
        if kernel.surrogate is None:
            lessons = begin(kernel.hamiltonian, state.occupations, state.energy)
            extra = lessons.gradient_calls
            kernel = kernel._refitted(lessons, state, rngs)
        lessons_now = kernel._lessons  # noqa: SLF001
        learns = lessons_now is not None
        gradient = lessons_now is not None and lessons_now.wants_gradients
        settled, info, proposed = kernel._step(state, rngs, gradient=gradient)  # noqa: SLF001
        if extra:
            info.gradient_calls[0] += extra
        if learns:
            assert lessons_now is not None  # noqa: S101
            new = (proposed.occupations != state.occupations).any(axis=1)
            new &= np.isfinite(proposed.energy)  # nothing is to be learnt where none was found
            lessons = lessons_now.with_energies(proposed.occupations[new], proposed.energy[new])
            if gradient:
                lattice = kernel.hamiltonian.lattice
                lessons = lessons.with_gradients(
                    lattice, proposed.occupations[new], proposed.gradient[new]
                )
                lessons = with_response(lessons, lattice)
            kernel = replace(kernel, _lessons=lessons)
            if lessons.is_due or gradient:
                kernel = kernel._refitted(lessons, settled, rngs)  # noqa: SLF001
        elif kernel.sweeps is None:
            sweeps = kernel._inner_chain().measured_sweeps(settled, rngs)  # noqa: SLF001
            kernel = replace(kernel, sweeps=sweeps)
        return kernel, settled, info

    def _refitted(self, lessons: Lessons, state: State, rngs: Generators) -> SurrogateChain:
        """Kernel with the surrogate that the energies so far make the best."""
        lattice = self.hamiltonian.lattice
        surrogate, quality = energy_correction(lessons, lattice, self._log_density)
        lessons = replace(lessons, fitted_to=len(lessons.energies))
        kernel = replace(self, surrogate=surrogate, quality=quality, _lessons=lessons, _anchor=None)
        assert self._asked is not None  # noqa: S101  (__post_init__)
        sweeps, region = self._asked
        if region is None and self._has_regions:
            region = kernel._chosen_region()  # noqa: SLF001
        kernel = replace(kernel, region=region)
        if sweeps is not None or len(lessons.energies) < 2 * lessons.measured_at:
            return kernel
        lessons = replace(lessons, measured_at=len(lessons.energies))
        sweeps = kernel._inner_chain().measured_sweeps(state, rngs)  # noqa: SLF001
        return replace(kernel, sweeps=sweeps, _lessons=lessons)

    def _log_density(self, energies: np.ndarray) -> np.ndarray:
        """Part of the log density that energies have, −βE in a canonical ensemble."""
        return energy_slopes(self.ensemble, len(energies)) * energies

    def _chosen_region(self) -> int | None:
        """Sites to move at once: all, or as many as lead to the wanted acceptance."""
        acceptance = self.quality.acceptance
        known = len(self.quality.residuals) >= 8
        if not known or acceptance >= WHOLE_CELL_ACCEPTANCE or self.inner is not None:
            return None
        # For normal errors of variance v, in units of kT, the acceptance is erfc(√v/2); v grows in
        # proportion to the sites that move, and is 0.55 where the acceptance is 0.6.
        f = self._log_density(self.quality.residuals)
        size = round(self.hamiltonian.lattice.n_sites * 0.55 / float(np.var(f)))
        return int(min(max(size, SMALLEST_REGION), self.hamiltonian.lattice.n_sites))

    def _judged(self) -> SurrogateChain:
        """Kernel that gives the surrogate up where it is hopeless."""
        lessons = self._lessons
        if self.fallback is not None or lessons is None:
            return self
        enough = len(self.quality.residuals) >= ENOUGH_ENERGIES
        region = self._chosen_region()
        if not enough or region is None or (region > SMALLEST_REGION and self._has_regions):
            return self
        most = f"more than {SMALLEST_REGION} sites" if self._has_regions else "the whole cell"
        fallback = self._paths()
        parts = fallback.kernels if isinstance(fallback, Mixture) else (fallback,)
        names = " and ".join(sorted({type(part).__name__ for part in parts}))
        warnings.warn(
            f"the surrogate misses energies by {self.quality.error:.2g} eV (root mean square), too "
            f"much for moves of {most}: going on with {names}",
            UserWarning,
            stacklevel=4,
        )
        return replace(self, fallback=fallback)

    @property
    def _has_regions(self) -> bool:
        """Whether moves of some sites only are compiled for this ensemble."""
        return self.surrogate is not None and self._inner_chain().is_compiled

    def _paths(self) -> PathAuxiliary | Mixture:
        """Kernel without a surrogate, of the same kinds of move."""
        model, ensemble = self.hamiltonian, self.ensemble
        moves = [move for move in self._moves if move != "exchange"]
        paths = [PathAuxiliary(model, ensemble, move=move) for move in moves]
        if len(self._moves) == 1:
            return paths[0]
        kernels: list[Kernel] = list(paths)
        if len(moves) < len(self._moves):
            kernels.append(TableExchange(model, ensemble))
        return Mixture([(kernel, 1) for kernel in kernels])
