"""Concentration waves: which ordering a disordered crystal is unstable to, in mean-field theory.

With V(q) the interactions at the mean composition and C the covariance of a random arrangement,
the disordered crystal becomes unstable at k_B T = −λ_min(C^½ V(q) C^½), first at the q where it is
largest (A. G. Khachaturyan, Prog. Mater. Sci. 22, 1 (1978), doi:10.1016/0079-6425(78)90003-8).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from ase.units import kB

from ...compositions import Composition
from ...errors import InputError
from ...lattice import Lattice
from ...protocols import Hamiltonian
from ...sublattice import is_whole, shown
from ..caveats import MELTING, Caveat
from ..wording import with_error
from .couplings import Couplings, alchemical_couplings
from .paths import path_through
from .rescaling import MeanFieldTemperature, Rescaling, arrangements, regression
from .solving import Wave, covariance_root, solve, weighted
from .stars import wave_cell
from .telling import as_dict, caveats, range_text, statement

__all__ = ["ConcentrationWaves", "concentration_waves"]

IDEAL = "ideal positions"
RELAXED = "relaxed positions (harmonic), fixed cell"
LEAST_ENERGIES = 8
DECAYED = 0.05
"""Share of the largest interaction below which it counts as decayed at the edge of the cell."""


@dataclass(frozen=True)
class ConcentrationWaves:
    """V(q) of a crystal at its mean composition, and the orderings it drives towards.

    ``waves`` has one entry per star of wave vectors that fit the cell, the most unstable first.
    Made by `concentration_waves`.
    """

    couplings: Couplings
    waves: tuple[Wave, ...]
    landscape: str = IDEAL
    left_out: str = ""
    rescaling: Rescaling | None = None

    @property
    def lattice(self) -> Lattice:
        """Sites and species."""
        return self.couplings.lattice

    @property
    def leading(self) -> Wave:
        """The wave that the disordered crystal is most unstable to."""
        return self.waves[0]

    @property
    def gap(self) -> float | None:
        """Energy in eV by which the next star lies above the leading one; None if there is none."""
        return self.waves[1].energy - self.waves[0].energy if len(self.waves) > 1 else None

    @property
    def decayed(self) -> bool:
        """Whether V ends within half the cell, so that V(q) is known where q does not fit, too."""
        return self.couplings.edge_share < DECAYED

    def at(self, q: Sequence[float] | np.ndarray) -> np.ndarray:
        """V(q) in eV, complex [..., n_contrasts, n_contrasts], for q [..., 3].

        ``q`` is in units of the reciprocal wave cell. Exact for the model where q fits the cell;
        elsewhere a Fourier interpolation, to be trusted if `decayed`. Rows and columns are
        ``couplings.contrasts``; the phases are those of the sites' positions.
        """
        q = np.asarray(q, dtype=float)
        cartesian = q.reshape(-1, 3) @ np.linalg.inv(self.wave_cell).T
        found = self.couplings.fourier(cartesian)
        return found.reshape(*q.shape[:-1], *found.shape[1:])

    @cached_property
    def wave_cell(self) -> np.ndarray:
        """Cell vectors as rows in Å whose reciprocal vectors are the unit of q."""
        return wave_cell(self.lattice)

    def along(
        self, path: str | Sequence[Sequence[float]] | None = None, n_points: int = 120
    ) -> xr.Dataset:
        """Eigenvalues of C^½ V(q) C^½ along a path.

        Parameters
        ----------
        path
            Names of special points in ASE's form ("GXMR,GM"), or corners as vectors in units of the
            reciprocal wave cell; the standard path of the primitive cell unless given.
        n_points
            How many points at least; wave vectors that fit the cell come on top.

        Returns
        -------
        ``energy`` in eV (point, band) with the coordinates ``distance`` (1/Å), ``piece`` (counted
        from jump to jump), ``q`` and ``fits`` (whether q fits the cell); attributes ``corners``,
        ``trusted`` and ``caveat``.
        """
        line = path_through(
            path,
            n_points,
            primitive=self.couplings.crystal.tiling.primitive,
            wave_cell=self.wave_cell,
            cell=self.lattice.atoms.cell.array,
        )
        bands = np.linalg.eigvalsh(weighted(self.couplings.fourier(line.q), self._root))
        return xr.Dataset(
            {"energy": (("point", "band"), bands, {"units": "eV"})},
            coords={
                "distance": ("point", line.distance, {"units": "1/Å"}),
                "piece": ("point", line.piece),
                "q": (("point", "axis"), line.q @ self.wave_cell.T),
                "fits": ("point", line.fits),
            },
            attrs={
                "corners": line.corners,
                "trusted": self.decayed,
                "caveat": "" if self.decayed else range_text(self),
            },
        )

    @cached_property
    def _root(self) -> np.ndarray:
        return covariance_root(self.couplings)

    # ---- size and temperature --------------------------------------------------------------

    def rescaled(
        self,
        hamiltonian: Hamiltonian,
        n: int = 16,
        rng: np.random.Generator | None = None,
    ) -> ConcentrationWaves:
        """Compare V with the energies of random arrangements, and take its size from them.

        The expansion in λ gives the shape of V well and its size less well. The arrangements keep
        the species of every class of sites, so that only interactions differ between them.

        Parameters
        ----------
        hamiltonian
            The energy model on the same lattice; for relaxed waves its relaxed landscape.
        n
            Arrangements, 8 or more.
        rng
            Where they come from; PCG64(0) unless given.

        Returns
        -------
        The same waves with ``rescaling`` and a temperature.

        Raises
        ------
        InputError
            If there are too few arrangements, the lattice is another one, the landscape is not the
            one of V, or all arrangements have one energy.
        """
        if not is_whole(n, least=LEAST_ENERGIES):
            raise InputError(
                f"n is {shown(n)}; V is rescaled by the energies of {LEAST_ENERGIES} or more "
                "arrangements"
            )
        if hamiltonian.lattice != self.lattice:
            raise InputError("the energy model is of another lattice; give one of the same cell")
        relaxes = hasattr(hamiltonian, "fmax")
        if relaxes != (self.landscape == RELAXED):
            raise InputError(
                f"these waves are for {self.landscape}, but the energies would be of "
                f"{'relaxed' if relaxes else 'fixed'} positions; give the energy model "
                f"{'inside' if relaxes else 'wrapped in Relaxed'}"
            )
        rng = np.random.Generator(np.random.PCG64(0)) if rng is None else rng
        states = arrangements(self.couplings, n, rng)
        found = regression(self.couplings.energies(states), hamiltonian.energy(states))
        return replace(self, rescaling=found)

    def temperature(self, wave: Wave | None = None) -> MeanFieldTemperature:
        """Mean-field temperature of a wave, the leading one unless given.

        Raises
        ------
        InputError
            If V has not been rescaled, its size is not known from the energies, it reaches across
            the cell, or the crystal is stable against the wave.
        """
        wave = self.leading if wave is None else wave
        reason = self.no_temperature(wave)
        if reason or self.rescaling is None:
            raise InputError(reason)
        kelvin = -wave.energy / kB
        label = f"{self.landscape}, mean field"
        value = kelvin * self.rescaling.slope
        if value > MELTING:
            label += ", above melting"
        return MeanFieldTemperature(value, kelvin * self.rescaling.error, label)

    def no_temperature(self, wave: Wave | None = None) -> str:
        """Say why a wave, the leading one unless given, has no temperature; empty if it has."""
        wave = self.leading if wave is None else wave
        if self.rescaling is None:
            return (
                "V has not been compared with energies, and its size is not to be trusted before; "
                f"call rescaled(hamiltonian), which takes {LEAST_ENERGIES} energies or more"
            )
        if not self.rescaling.slope > 2 * self.rescaling.error:
            return (
                "the energies of V do not follow the exact ones (slope "
                f"{with_error(self.rescaling.slope, self.rescaling.error)}), so they give no "
                "temperature"
            )
        if not self.decayed:
            return (
                f"interactions still have {self.couplings.edge_share:.0%} of their largest size at "
                f"half the cell ({self.couplings.inner_radius:.3g} Å), so that V(q) lacks one "
                "constant, which changes no ranking but every temperature; give a larger supercell"
            )
        if wave.energy >= 0:
            return "the disordered crystal is stable against this wave at every temperature"
        return ""

    # ---- telling ---------------------------------------------------------------------------

    @property
    def statement(self) -> str:
        """What was found, in sentences that can be quoted."""
        return statement(self)

    @property
    def caveats(self) -> tuple[Caveat, ...]:
        """What a reader must know before using the numbers."""
        return caveats(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data; unknown numbers are None."""
        return as_dict(self)

    def polarisation(self, wave: Wave | None = None) -> list[dict[str, Any]]:
        """Amplitudes of a wave by kind of site and species, as plain data; the leading wave's."""
        wave = self.leading if wave is None else wave
        kinds = self.couplings.crystal
        rows = []
        for kind, site in enumerate(kinds.first):
            name = self.lattice.names[int(self.lattice.sublattice_of_site[site])]
            for k, species in enumerate(self.lattice.sublattices[name].species):
                value = wave.amplitudes[kind, k]
                rows.append(
                    {
                        "sublattice": name,
                        "kind": kind,
                        "species": species,
                        "amplitude": round(float(value.real), 9) + 0.0,
                        "imaginary": round(float(value.imag), 9) + 0.0,
                    }
                )
        return rows


def concentration_waves(
    hamiltonian: Any,
    composition: Composition | np.ndarray | None = None,
    *,
    relaxed: bool = False,
    step: float = 0.01,
) -> ConcentrationWaves:
    r"""Find the ordering that a disordered crystal is unstable to, without sampling.

    .. math:: V(q) = \sum_R V(R)\, e^{-iq·(R + r_b - r_a)}, \qquad V_{ij} = D_i D_j E(\bar λ),\;
        V_{ii} ≡ 0

    with D_i = ∂/∂λ_ik − ∂/∂λ_i0 at the mean composition. k_BT = −λ_min(C^½ V(q) C^½) with
    C_kl = c_k δ_kl − c_k c_l; for two species on one kind of site k_BT = −c(1 − c)V(q).

    Parameters
    ----------
    hamiltonian
        Energy model with ``hessian_product``, at undisplaced positions.
    composition
        Fractions by sublattice, or λ̄ [n_sites, n_species_max], alike on sites of a kind; by
        default the lattice's nominal composition.
    relaxed
        Let the atoms follow, to second order: V_rel(q) = V(q) − B†(q) K⁻¹(q) B(q). It needs
        ``mixed_energy`` and ``at``, and positive force constants.
    step
        Displacement in Å of the finite differences for K and B.

    Returns
    -------
    The waves, the most unstable first.

    Raises
    ------
    InputError
        If the model has no Hessian products, a composition cannot be used, atoms are displaced, or
        force constants are not positive; the message says what to do.

    Notes
    -----
    A cell of N primitive cells has N wave vectors, for which V(q) is exact: that of the model's
    second-order energies in this very cell. The diagonal of the Hessian is left out, for at a
    vertex λ² = λ and it is no interaction. In small cells it holds what a site feels of its own
    images, too, which is the same constant for every q that fits.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import PairHamiltonian, builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(4, 4, 4))
    >>> hamiltonian = PairHamiltonian(lattice, [0.01 * np.array([[1, -1], [-1, 1]])])
    >>> waves = concentration_waves(hamiltonian, {"B": {"Sc": 0.5, "Ta": 0.5}})
    >>> waves.leading.name, waves.leading.q, round(waves.leading.energy, 6)
    ('rock-salt', (0.5, 0.5, 0.5), -0.06)
    >>> rescaled = waves.rescaled(hamiltonian)
    >>> round(rescaled.temperature().kelvin), rescaled.temperature().label
    (696, 'ideal positions, mean field')
    """
    couplings = alchemical_couplings(hamiltonian, composition)
    landscape = IDEAL
    if relaxed:
        from .force_constants import relaxed_couplings  # noqa: PLC0415

        couplings = relaxed_couplings(hamiltonian, couplings, step)
        landscape = RELAXED
    waves, left_out = solve(couplings)
    return ConcentrationWaves(couplings, waves, landscape, left_out)
