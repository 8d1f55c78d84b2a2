"""The density of states as it was sampled: ln g(E) with errors, and averages at any temperature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import kB

from .errors import InputError, StoredRunError
from .sublattice import shown

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["DensityOfStates"]

CUT_SHARE = 1e-3
"""More of the weight than this on the last level before a cut, and an average is refused."""

_ARRAYS = ("energies", "repeats", "unvisited")
_FLAGS = ("n_sites", "bin_width", "exact_levels", "cut", "converged")


@dataclass(frozen=True, eq=False)
class DensityOfStates:
    """Logarithm of the number of states of every level of the energy, from independent repeats.

    Parameters
    ----------
    energies
        Levels in eV per cell, ascending, [n_levels]; for bins the mean energy of the states met.
    repeats
        ln g of every repeat, [n_repeats, n_levels]; NaN where a repeat did not visit a level. It
        is absolute: g adds up to the number of states in the range of energies.
    n_sites
        Sites of the cell, which averages per site are divided by.
    bin_width
        Width of a bin, or step between two levels, in eV.
    exact_levels
        Whether every bin holds states of one energy.
    unvisited
        Levels within the range in eV (centres of bins) that no repeat visited: there are no such
        states, or they were not found. Nothing is said of them.
    means
        Mean of an observable over the states of every level, by name, [n_repeats, n_levels]; NaN
        where it was not sampled.
    cut
        Whether there are states below and above the range of energies, which were left out.
    converged
        Whether every repeat visited every level and was refined as far as asked.
    attrs
        How it was sampled, in plain numbers and lists.

    Raises
    ------
    InputError
        If shapes disagree or there is no level.

    Examples
    --------
    Four spins without interaction in a field, whose levels hold 1, 4, 6, 4, 1 states:

    >>> import numpy as np
    >>> levels = np.arange(5) * 0.1
    >>> exact = DensityOfStates(levels, np.log([[1.0, 4.0, 6.0, 4.0, 1.0]]), n_sites=4,
    ...     bin_width=0.1)
    >>> averages = exact.averages([1000.0, 1e9])
    >>> averages.energy.values.round(4), averages.entropy.values.round(4)
    (array([0.0954, 0.2   ]), array([0.5494, 0.6931]))
    """

    energies: np.ndarray
    repeats: np.ndarray
    n_sites: int
    bin_width: float
    exact_levels: bool = True
    unvisited: np.ndarray = field(default_factory=lambda: np.zeros(0))
    means: Mapping[str, np.ndarray] = field(default_factory=dict)
    cut: tuple[bool, bool] = (False, False)
    converged: bool = True
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in _ARRAYS:
            object.__setattr__(self, name, np.array(getattr(self, name), dtype=np.float64))
        means = {name: np.array(m, dtype=np.float64) for name, m in self.means.items()}
        object.__setattr__(self, "means", means)
        n = len(self.energies) if self.energies.ndim == 1 else 0
        if not n or not np.isfinite(self.energies).all() or (np.diff(self.energies) <= 0).any():
            raise InputError(
                f"energies have shape {self.energies.shape}, or do not rise: give one finite "
                "energy in eV per level, from the lowest up"
            )
        for name, values in {"repeats": self.repeats, **means}.items():
            if values.shape != (len(self.repeats), n):
                raise InputError(
                    f"{name} has shape {values.shape}: expected [n_repeats, {n}], one number per "
                    "level"
                )

    @property
    def ln_g(self) -> np.ndarray:
        """Mean ln g of the repeats that visited a level, float64 [n_levels]."""
        return _mean(self.repeats)

    @property
    def ln_g_error(self) -> np.ndarray:
        """Standard error of ``ln_g`` from the scatter of the repeats, float64 [n_levels].

        Infinite where a repeat did not visit the level, NaN if there is one repeat. With R repeats
        it has R − 1 degrees of freedom.
        """
        n = len(self.repeats)
        if n == 1:
            return np.full(len(self.energies), np.nan)
        error = self.repeats.std(axis=0, ddof=1) / np.sqrt(n)
        return np.where(np.isfinite(self.repeats).all(axis=0), error, np.inf)

    def averages(self, temperatures: Sequence[float] | float) -> xr.Dataset:
        """Averages of the canonical ensemble at any temperatures, with standard errors.

        With Z = Σ g e^{−βE}: ⟨E⟩, C = β² k_B (⟨E²⟩ − ⟨E⟩²), F = −k_B T ln Z and
        S = (⟨E⟩ − F)/T, of the configurations alone, and ⟨O⟩ = Σ g e^{−βE} Ō(E)/Z of every
        observable. Errors are the jackknife's over the repeats.

        Parameters
        ----------
        temperatures
            K, above zero.

        Returns
        -------
        Dataset over ``temperature`` (without this dim for a single number): ``energy`` and
        ``free_energy`` (eV per cell), ``heat_capacity`` and ``entropy`` (k_B per site), the
        observables by their names, and of each an ``…_error``.

        Raises
        ------
        InputError
            If a temperature is not positive, or more than 0.1 % of the weight lies on the last
            level of a range that was cut there.
        """
        import xarray as xr  # noqa: PLC0415  (slow to import)

        try:
            kelvin = np.atleast_1d(np.asarray(temperatures, dtype=np.float64))
        except (TypeError, ValueError):
            kelvin = np.array([np.nan])
        if kelvin.ndim != 1 or not (np.isfinite(kelvin) & (kelvin > 0)).all():
            raise InputError(f"temperatures are {shown(temperatures)}: give numbers above 0, in K")
        self.refuse_beyond_the_cut(kelvin)
        units = {"energy": "eV", "heat_capacity": "k_B", "entropy": "k_B", "free_energy": "eV"}
        values, errors = self.jackknife(lambda dos: dos._averages(kelvin))  # noqa: SLF001
        variables = {}
        for name, value, error in zip((*units, *self.means), values, errors, strict=True):
            attrs = {"units": units.get(name, "1")}
            variables[name] = ("temperature", value, attrs)
            variables[f"{name}_error"] = ("temperature", error, attrs)
        table = xr.Dataset(variables, {"temperature": ("temperature", kelvin, {"units": "K"})})
        return table if np.ndim(temperatures) else table.isel(temperature=0)

    def probabilities(self, temperature: float) -> np.ndarray:
        """P(E; T) = g e^{−βE}/Z of every level, float64 [n_levels]; temperature in K.

        Examples
        --------
        >>> two = DensityOfStates([0.0, 1.0], [[0.0, np.log(3)]], n_sites=1, bin_width=1.0)
        >>> two.probabilities(1e9).round(3)
        array([0.25, 0.75])
        """
        return np.exp(self._log_weights(np.array([1.0 / (kB * temperature)]))[0])

    def jackknife(
        self, function: Callable[[DensityOfStates], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a function of the density of states and its standard error.

        The function is evaluated of all repeats, and with each repeat left out: the error is
        √[(R − 1)/R Σ_r (f_r − f̄)²] (B. Efron and C. Stein, Ann. Stat. 9, 586 (1981),
        doi:10.1214/aos/1176345462); NaN if there is one repeat.

        Parameters
        ----------
        function
            Takes a DensityOfStates, returns a number or an array.

        Examples
        --------
        >>> dos = DensityOfStates([0.0], [[0.9], [1.1]], n_sites=1, bin_width=1.0)
        >>> value, error = dos.jackknife(lambda d: d.ln_g[0])
        >>> round(float(value), 6), round(float(error), 6)
        (1.0, 0.1)
        """
        value, n = np.asarray(function(self), dtype=np.float64), len(self.repeats)
        if n == 1:
            return value, np.full(value.shape, np.nan)
        parts = np.array([function(self._without(r)) for r in range(n)])
        return value, np.sqrt((n - 1) / n * ((parts - parts.mean(axis=0)) ** 2).sum(axis=0))

    def to_dataset(self) -> xr.Dataset:
        """Return it as an xarray Dataset, which Zarr and NetCDF store.

        Examples
        --------
        >>> dos = DensityOfStates([0.0, 0.1], [[0.0, 1.0]], n_sites=2, bin_width=0.1)
        >>> DensityOfStates.from_dataset(dos.to_dataset()).ln_g
        array([0., 1.])
        """
        import xarray as xr  # noqa: PLC0415

        ev = {"units": "eV"}
        variables = {
            "ln_g": (("repeat", "level"), self.repeats, {"long_name": "ln of number of states"}),
            "unvisited": (("gap",), self.unvisited, ev),
        }
        for name, values in self.means.items():
            variables[f"mean_{name}"] = (("repeat", "level"), values, {"long_name": name})
        flags = {
            "n_sites": self.n_sites,
            "bin_width": self.bin_width,
            "exact_levels": int(self.exact_levels),
            "cut": [int(end) for end in self.cut],
            "converged": int(self.converged),
        }
        return xr.Dataset(
            variables, {"energy": ("level", self.energies, ev)}, flags | dict(self.attrs)
        )

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> DensityOfStates:
        """Make it again from what ``to_dataset`` returned.

        Raises
        ------
        StoredRunError
            If the dataset is no density of states.
        """
        wanted = ("energy", "ln_g", "unvisited", *_FLAGS)
        missing = [name for name in wanted if name not in (*dataset.variables, *dataset.attrs)]
        if missing:
            raise StoredRunError(
                f"the dataset has no {missing[0]}: give what DensityOfStates.to_dataset made"
            )
        flags = {name: dataset.attrs[name] for name in _FLAGS}
        below, above = flags["cut"]
        return cls(
            energies=dataset["energy"].values,
            repeats=dataset["ln_g"].transpose("repeat", "level").values,
            unvisited=dataset["unvisited"].values,
            n_sites=int(flags["n_sites"]),
            bin_width=float(flags["bin_width"]),
            exact_levels=bool(flags["exact_levels"]),
            cut=(bool(below), bool(above)),
            converged=bool(flags["converged"]),
            means={
                str(name).removeprefix("mean_"): values.transpose("repeat", "level").values
                for name, values in dataset.data_vars.items()
                if str(name).startswith("mean_")
            },
            attrs={name: value for name, value in dataset.attrs.items() if name not in _FLAGS},
        )

    def _without(self, repeat: int) -> DensityOfStates:
        rows = np.arange(len(self.repeats)) != repeat
        means = {name: values[rows] for name, values in self.means.items()}
        return replace(self, repeats=self.repeats[rows], means=means)

    def _log_weights(self, beta: np.ndarray) -> np.ndarray:
        """Return ln P(E; T), [n_temperatures, n_levels]."""
        log = np.nan_to_num(self.ln_g, nan=-np.inf) - beta[:, None] * self.energies
        return log - _log_sum(log)[:, None]

    def _averages(self, kelvin: np.ndarray) -> np.ndarray:
        """Averages in the order of ``averages``, [n_quantities, n_temperatures]."""
        beta = 1.0 / (kB * kelvin)
        ln_g = np.nan_to_num(self.ln_g, nan=-np.inf)
        ln_z = _log_sum(ln_g - beta[:, None] * self.energies)
        p = np.exp(self._log_weights(beta))
        energy = p @ self.energies
        variance = (p * (self.energies - energy[:, None]) ** 2).sum(axis=1)
        capacity, entropy = beta**2 * variance / self.n_sites, (ln_z + beta * energy) / self.n_sites
        observed = [_weighted(p, _mean(values)) for values in self.means.values()]
        return np.array([energy, capacity, entropy, -ln_z / beta, *observed])

    def refuse_beyond_the_cut(self, kelvin: np.ndarray) -> None:
        """Refuse temperatures (K) whose weight lies where states were left out.

        Raises
        ------
        InputError
            If more than 0.1 % of it lies on the last level of a range that was cut there.
        """
        p = np.exp(self._log_weights(1.0 / (kB * kelvin)))
        for cut, level, where in zip(self.cut, (0, -1), ("lowest", "highest"), strict=True):
            if cut and p[:, level].max() > CUT_SHARE:
                worst = int(p[:, level].argmax())
                raise InputError(
                    f"at {kelvin[worst]:g} K {p[worst, level]:.2g} of the weight lies on the "
                    f"{where} level of the range, {self.energies[level]:.6g} eV, beyond which "
                    "there are more states: widen energy_range, or ask for other temperatures"
                )


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the repeats that have a value, NaN where none has, [n_levels]."""
    known = np.isfinite(values)
    number = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _weighted(p: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Σ P(E) Ō(E) over the levels at which the observable is known, [n_temperatures]."""
    known = np.isfinite(values)
    share = p[:, known].sum(axis=1)
    # Beyond a per mille of the weight without a sample the average is not known.
    mean = p[:, known] @ values[known] / np.where(share > 0, share, 1.0)
    return np.where(share > 1 - CUT_SHARE, mean, np.nan)


def _log_sum(log: np.ndarray) -> np.ndarray:
    """Return ln Σ e^x over the last axis."""
    top = log.max(axis=-1)
    return top + np.log(np.exp(log - top[..., None]).sum(axis=-1))
