"""What a run cost and how much it is worth: evaluations, seconds and effective samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..records import Run
from ..statistics import MIN_ESS, RHAT_LIMIT, rhat, smallest_ess

__all__ = ["Costs", "Effort", "KernelRow", "Observable", "Observed", "row_of_run"]

Observable = Callable[[np.ndarray], np.ndarray]
"""A number per occupation: uint8 [n, n_sites] -> [n]."""


class Costs(NamedTuple):
    """Cost of a gradient and of a Hessian product in energies; None where neither was needed."""

    gradient: float | None
    hessian: float | None

    def total(self, energies: int, gradients: int, hessian_products: int) -> float:
        """Return evaluations in units of one energy; NaN if a cost that is needed is unknown."""
        cost = float(energies)
        for calls, each in ((gradients, self.gradient), (hessian_products, self.hessian)):
            if calls:
                cost += calls * (float("nan") if each is None else each)
        return cost


class Effort(NamedTuple):
    """Evaluations over all chains, their ``cost`` in energies, and ``seconds``."""

    energy_calls: int
    gradient_calls: int
    hessian_products: int
    cost: float
    seconds: float


class Observed(NamedTuple):
    """A sampled quantity: mean, standard error, effective samples, τ in steps, R-hat."""

    mean: float
    error: float
    ess: float
    tau: float
    rhat: float


@dataclass(frozen=True)
class KernelRow:
    """What one kernel did.

    ``ess`` is that of the slowest observable and ``ess_error`` its relative error; ``observables``
    hold ``energy`` (eV) and those that were asked for.
    """

    name: str
    kernel: str
    n_chains: int
    n_steps: int
    thin: int
    warm_up_steps: int
    acceptance: float
    sampling: Effort
    warm_up: Effort
    observables: Mapping[str, Observed]
    ess: float
    ess_error: float

    @property
    def slowest(self) -> str:
        """Observable with the fewest effective samples."""
        return min(self.observables, key=lambda name: _known(self.observables[name].ess))

    @property
    def converged(self) -> bool:
        """Whether every observable has R-hat below 1.01 and at least 100 effective samples."""
        return all(o.rhat < RHAT_LIMIT and o.ess >= MIN_ESS for o in self.observables.values())

    def cost_per_sample(self, *, warm_up: bool = False) -> float:
        """Energies per effective sample of the slowest observable, warm-up left out or counted."""
        cost = self.sampling.cost + (self.warm_up.cost if warm_up else 0.0)
        return cost / self.ess if self.ess > 0 else float("inf")

    def samples_per_second(self, *, warm_up: bool = False) -> float:
        """Effective samples of the slowest observable per second."""
        seconds = self.sampling.seconds + (self.warm_up.seconds if warm_up else 0.0)
        return self.ess / seconds if seconds > 0 else float("nan")


def row_of_run(
    name: str, run: Run, observables: Mapping[str, Observable], costs: Costs
) -> KernelRow:
    """Sum up a run with one point that knows its warm-up and its seconds.

    Raises
    ------
    InputError
        If the run lacks one of them, or an observable gives no finite number per occupation.
    """
    for key in ("warm_up", "seconds"):
        if key not in run.attrs:
            raise InputError(f"run {name!r} has no attrs[{key!r}]: give runs drawn by sample()")
    samples, before, seconds = run.samples, run.attrs["warm_up"], run.attrs["seconds"]
    series = observed_series(name, run, observables)
    thin = int(run.config.get("thin", 1))
    n_draws, n_chains = samples.energy.shape
    gradients = int(samples.gradient_calls.sum())
    # The starts are evaluated once per chain, by kernels with gradients with the gradient.
    starts = (0, n_chains) if gradients else (n_chains, 0)
    ess, error = ess_with_error(list(series.values()))
    return KernelRow(
        name=name,
        kernel=str(run.config.get("kernel", name)),
        n_chains=n_chains,
        n_steps=n_draws * thin,
        thin=thin,
        warm_up_steps=int(before["n_steps"]),
        acceptance=float(samples.acceptance.mean()),
        sampling=_effort(
            costs, int(samples.energy_calls.sum()), gradients, 0, float(seconds["sampling"])
        ),
        warm_up=_effort(
            costs,
            int(before["energy_calls"]) + starts[0],
            int(before["gradient_calls"]) + starts[1],
            int(before.get("hessian_products", 0)),
            float(seconds["warm_up"]),
        ),
        observables={key: _observed(values, thin) for key, values in series.items()},
        ess=ess,
        ess_error=error,
    )


def observed_series(
    name: str, run: Run, observables: Mapping[str, Observable]
) -> dict[str, np.ndarray]:
    """Energy and every observable of a run, each float64 [n_draws, n_chains]."""
    samples = run.samples
    series = {"energy": np.asarray(samples.energy.values, dtype=np.float64)}
    flat = samples.occupation.values.reshape(-1, samples.sizes["site"])
    for key, observable in observables.items():
        values = np.asarray(observable(flat))
        if values.shape != (len(flat),) or values.dtype.kind not in "iuf":
            raise InputError(
                f"observable {key!r} gave {values.dtype} of shape {values.shape} for {len(flat)} "
                "occupations: give one real number for each"
            )
        if not np.isfinite(values).all():
            raise InputError(
                f"observable {key!r} gave {values[~np.isfinite(values)][0]} in the run of "
                f"{name!r}: give finite numbers"
            )
        series[key] = values.astype(np.float64).reshape(samples.energy.shape)
    return series


def ess_with_error(series: list[np.ndarray]) -> tuple[float, float]:
    """Effective samples of the slowest series and their relative error.

    The error is the jackknife's over chains, of the logarithm of the fraction of draws that are
    effective: √((m − 1)/m Σ_c (l_c − l̄)²), l_c without chain c. NaN for a single chain.
    """
    ess = _slowest_ess(series)
    n_chains = series[0].shape[1]
    if n_chains < 2 or not ess > 0:
        return ess, float("nan")
    left = [
        _slowest_ess([np.delete(x, chain, axis=1) for x in series]) for chain in range(n_chains)
    ]
    if not min(left) > 0:
        return ess, float("nan")
    logs = np.log(left)
    return ess, float(np.sqrt((n_chains - 1) * logs.var()))


def _slowest_ess(series: list[np.ndarray]) -> float:
    return min((smallest_ess(x) for x in series), key=_known)


def _known(ess: float) -> float:
    """Order of effective sample sizes in which what could not be estimated comes first."""
    return ess if np.isfinite(ess) else -1.0


def _observed(values: np.ndarray, thin: int) -> Observed:
    ess = smallest_ess(values)
    error = float(values.std() / np.sqrt(ess - 1.0)) if ess >= 2.0 else float("nan")
    tau = thin * values.size / ess if ess > 0 else float("nan")
    return Observed(float(values.mean()), error, ess, tau, rhat(values))


def _effort(costs: Costs, energies: int, gradients: int, hessian: int, seconds: float) -> Effort:
    cost = costs.total(energies, gradients, hessian)
    return Effort(energies, gradients, hessian, cost, seconds)


def row_to_dict(row: KernelRow) -> dict[str, Any]:
    """Plain numbers, None for those that are not finite."""
    plain: dict[str, Any] = {
        key: _plain(value)
        for key, value in vars(row).items()
        if key not in {"sampling", "warm_up", "observables"}
    }
    for key in ("sampling", "warm_up"):
        plain[key] = {k: _plain(v) for k, v in getattr(row, key)._asdict().items()}
    plain["observables"] = {
        key: {k: _plain(v) for k, v in observed._asdict().items()}
        for key, observed in row.observables.items()
    }
    return plain


def row_from_dict(plain: Mapping[str, Any]) -> KernelRow:
    """Row that ``row_to_dict`` gave; None becomes NaN."""
    read = lambda values: {k: _number(v) for k, v in values.items()}  # noqa: E731
    fields = read(plain)
    fields |= {key: Effort(**read(plain[key])) for key in ("sampling", "warm_up")}
    fields["observables"] = {k: Observed(**read(v)) for k, v in plain["observables"].items()}
    return KernelRow(**fields)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _number(value: Any) -> Any:
    return float("nan") if value is None else value
