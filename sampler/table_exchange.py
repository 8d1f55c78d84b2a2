"""Multi-site exchanges that keep the total charge, or other integer constraints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from ..lattice import Lattice
from ..protocols import Generators, Info, State
from ..sublattice import is_number
from ._composition import fixed_sublattices, keeps_counts
from ._exchanges import Constraint, ExchangeTable, constraint_matrix
from ._kernel import KernelBase
from ._metropolis import draw_uniforms, evaluate_where, settle
from ._moves import compositions, connects
from ._swaps import FactorisedSwaps, Swap

__all__ = ["TableExchange"]


@dataclass(frozen=True)
class TableExchange(KernelBase):
    r"""Change species on several sites at once so that charges and other constraints are kept.

    With n_sa sites of sublattice s holding a, constraints are Σ_sa c_sa n_sa = const with whole
    numbers c: the total charge, where the lattice has charges, and the user's own. The table holds
    the exchanges v = Δn that keep them all and the sizes of the sublattices: the Graver basis of
    these rows, both signs of each vector, less those too large for the cell. It connects all
    compositions with the same constraint values, which a mere lattice basis may fail to do
    (Diaconis and Sturmfels 1998, doi:10.1214/aos/1030563990; Sturmfels 1996,
    doi:10.1090/ulect/008); ``connected`` proves it for a cell.

    A step is an exchange, or, with probability ``swaps``, a swap of two unlike sites as in
    `RandomSwap`. For an exchange, v is drawn uniformly from the table, whatever the state; then
    on every sublattice L_a sites among those that hold a, for all a with L_a = −v_a > 0, and an
    arrangement of the gained species (G_b = v_b > 0) on these sites, all equally likely:

    .. math:: q(y|x) = \frac{1}{n_\text{moves}\, W_v(x)}, \qquad
        W_v(x) = \prod_s \frac{(\sum_a L_a)!}{\prod_b G_b!} \prod_a \binom{n_{sa}}{L_a},

    .. math:: α = \min(1, e^{f(y) − f(x)}\, W_v(x)/W_{−v}(y)).

    Where n_sa < L_a the exchange is impossible, and the step is no move.

    The chain samples the ensemble restricted to the constraint values of its start: charges are
    kept, not made neutral. It is the kernel for `ChargeNeutral`, which has no weight elsewhere, and
    whose other kernels swap only. Where the ensemble keeps the counts of some sublattices, so does
    the table. One energy per replica and step, none where no move is possible. A
    fixed number of random numbers per replica and step.

    Parameters
    ----------
    hamiltonian
        Energy model.
    ensemble
        Target density; one that fixes the composition is refused.
    constraints
        Whole numbers by sublattice and species, one mapping per constraint, 0 where none is given:
        ``[{"A": {"La": 1}, "B": {"Al": −1}}]`` keeps n(La) − n(Al) besides the charge.
    swaps
        Share of steps that are swaps, from 0 to below 1. Exchanges alone seldom rearrange species
        at a fixed composition; take 0 only in a `Mixture` with another kernel that swaps.

    Raises
    ------
    InputError
        If the ensemble keeps all counts; there are neither charges nor constraints; the charges of
        a sublattice differ by no simple fractions; a constraint names what is not there; ``swaps``
        is out of range; more than 1,000 exchanges keep the constraints; or none does, so that only
        swaps are left (`RandomSwap`).

    Examples
    --------
    >>> from alchemc import ChargeNeutral, PairHamiltonian, builders, sampler
    >>> lattice = builders.perovskite(
    ...     ("La", "Sr"), ("Al", "Ti"), "O", a=3.85, size=(2, 2, 2),
    ...     charges={"La": 3, "Sr": 2, "Al": 3, "Ti": 4}, spectator_charges={"O": -2})
    >>> ensemble = ChargeNeutral(lattice, 1000.0, {"A": {"Sr": 0.1}})
    >>> pairs = PairHamiltonian(lattice, {("A", "B"): [{("La", "Ti"): 0.02}]})
    >>> kernel = sampler.TableExchange(pairs, ensemble)
    >>> kernel.moves
    ['A: La -> Sr, B: Al -> Ti', 'A: Sr -> La, B: Ti -> Al']
    >>> kernel.connected(np.zeros(16, int))
    True
    """

    constraints: Sequence[Constraint] = field(default=(), hash=False)
    swaps: float = 0.5
    _matrix: np.ndarray = field(init=False, repr=False, compare=False)
    _table: ExchangeTable = field(init=False, repr=False, compare=False)
    _swap_choice: FactorisedSwaps = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if keeps_counts(self.ensemble):
            raise InputError(
                "exchanges change the composition, which the canonical ensemble fixes: use "
                "RandomSwap, or SemiGrandCanonical"
            )
        if not is_number(self.swaps) or not 0 <= self.swaps < 1:
            raise InputError(
                f"swaps is {self.swaps!r}; give the share of steps that swap, from 0 to below 1"
            )
        lattice = self.hamiltonian.lattice
        matrix = constraint_matrix(lattice, self.constraints)
        matrix = np.concatenate([matrix, _kept_counts(lattice, fixed_sublattices(self.ensemble))])
        kept = tuple({s: dict(v) for s, v in one.items()} for one in self.constraints)
        object.__setattr__(self, "constraints", kept)
        object.__setattr__(self, "_matrix", matrix)
        object.__setattr__(self, "_table", ExchangeTable(lattice, matrix))
        object.__setattr__(self, "_swap_choice", FactorisedSwaps(lattice))

    @property
    def moves(self) -> list[str]:
        """The exchanges of the table in words, each as likely to be proposed as any other."""
        return self._table.describe()

    def connected(self, occupation: np.ndarray) -> bool:
        """Whether the table leads to every composition with the constraint values of a start.

        Enumerates these compositions and searches them breadth first.

        Parameters
        ----------
        occupation
            [n_sites].

        Raises
        ------
        InputError
            If the occupation does not fit the lattice, or the compositions are more than 10⁶.
        """
        start = np.asarray(occupation)
        if start.ndim != 1:
            raise InputError(
                f"the occupation has shape {start.shape}: give one start, [n_sites], at a time"
            )
        counts = self._table.counts(self.hamiltonian.lattice.check(start)[None])[0]
        states = compositions(self._matrix, counts, self._table.parts)
        return connects(self._table.vectors, states)

    def step(self, state: State, rngs: Generators) -> tuple[State, Info]:
        """Propose one exchange or swap per replica, and accept or refuse it."""
        uniforms = draw_uniforms(rngs, 2 + max(3, 1 + 2 * self._table.width))
        change, log_hastings = self._draw(state.occupations, uniforms[:, 1:])
        movable = change.sites[:, 0] >= 0
        occupations = _apply(state.occupations, change)
        energy, _ = evaluate_where(
            movable, self.hamiltonian, occupations, False, (state.energy, state.gradient)
        )
        proposed = State(occupations, energy, np.full_like(state.gradient, np.nan))
        settled, info = settle(
            state,
            proposed,
            change,
            log_density=self.ensemble.log_density,
            log_hastings=log_hastings,
            uniforms=uniforms[:, 0],
        )
        return settled, info._replace(energy_calls=movable.astype(np.int64))

    def _draw(self, occupations: np.ndarray, uniforms: np.ndarray) -> tuple[Swap, np.ndarray]:
        """Draw a swap or an exchange per replica, and the logarithm of its Hastings factor."""
        swapping = uniforms[:, 0] < self.swaps
        exchange, vectors = self._table.draw(occupations, uniforms[:, 1:])
        flat = np.zeros((*occupations.shape, self.hamiltonian.lattice.n_species_max))
        swap = self._swap_choice.draw(flat, occupations, uniforms[:, 1:4])
        width = max(2, self._table.width)
        sites, species = (
            np.where(swapping[:, None], _padded(s, width), _padded(e, width))
            for s, e in ((swap.sites, exchange.sites), (swap.species, exchange.species))
        )
        # A swap is as likely as its reverse: it changes no count.
        log_hastings = np.where(swapping, 0.0, self._log_hastings(occupations, vectors))
        return Swap(sites, species, np.zeros(len(swapping))), log_hastings

    def _log_hastings(self, occupations: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Return log W_v(x)/W_−v(y) of exchanges v ``vectors``, [n_replicas]."""
        counts = self._table.counts(occupations)
        forth = self._table.log_ways(counts, vectors)
        return forth - self._table.log_ways(counts + vectors, -vectors)


def _kept_counts(lattice: Lattice, names: Sequence[str]) -> np.ndarray:
    """Constraints that keep every count of some sublattices, int64 [n_rows, n_columns]."""
    rows = np.eye(len(lattice.names) * lattice.n_species_max, dtype=np.int64)
    by_sublattice = rows.reshape(len(lattice.names), lattice.n_species_max, -1)
    kept = [
        by_sublattice[lattice.names.index(name), : len(lattice.sublattices[name].species)]
        for name in names
    ]
    return np.concatenate([rows[:0], *kept])


def _padded(columns: np.ndarray, width: int) -> np.ndarray:
    return np.pad(columns, ((0, 0), (0, width - columns.shape[1])), constant_values=-1)


def _apply(occupations: np.ndarray, change: Swap) -> np.ndarray:
    """Occupations after the changes; −1 in the sites pads."""
    proposed = occupations.copy()
    replica, column = np.nonzero(change.sites >= 0)
    proposed[replica, change.sites[replica, column]] = change.species[replica, column]
    return proposed
