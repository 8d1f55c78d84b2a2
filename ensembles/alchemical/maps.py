"""Maps from free coordinates θ to λ on a simplex, with their measures and densities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from scipy.special import ellipkm1, gammaln, logsumexp

from ...errors import InputError
from ...sublattice import is_number, shown

__all__ = ["CompactMap", "SimplexMap", "SoftmaxMap"]

LOG_T_STEP, LOG_T_BLOCK = 0.2, 256
LEAST_A, MOST_A = 0.05, 100.0


class SimplexMap(ABC):
    r"""λ_k = exp v(θ_k) / Σ_l exp v(θ_l), one coordinate θ_k per species.

    A map comes with a normalised measure m(θ) at zero potential, the same for every species, and
    with densities near the vertices,

    .. math:: k(θ|x) = \frac{m(θ)\, r_x(θ)}{Z_x}, \qquad
              r_x(θ) = \frac{e^{κ_x v(θ_x)}}{\sum_l e^{κ_l v(θ_l)}},

    which for κ = 1 are r = λ. Where all κ are alike, Z_x is one over the number of species.

    Arrays end in the axis of the species; ``allowed`` says which there are. Coordinates of others
    stay out of everything.
    """

    name: ClassVar[str]

    # ---- what a map says -------------------------------------------------------------------

    @property
    @abstractmethod
    def steepest(self) -> float:
        """Largest dv/dθ."""

    @abstractmethod
    def exponents(self, theta: np.ndarray) -> np.ndarray:
        """Return v(θ)."""

    @abstractmethod
    def exponent_slopes(self, theta: np.ndarray) -> np.ndarray:
        """Return dv/dθ."""

    @abstractmethod
    def log_measure(self, theta: np.ndarray) -> np.ndarray:
        """Logarithm of the normalised density m of each coordinate."""

    @abstractmethod
    def log_measure_slopes(self, theta: np.ndarray) -> np.ndarray:
        """Return d ln m/dθ."""

    @abstractmethod
    def draw_measure(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Draw coordinates of the measure."""

    @abstractmethod
    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Exponents v and weights of a quadrature over the measure of one coordinate."""

    @abstractmethod
    def density(self, weights: np.ndarray) -> np.ndarray:
        """Density of λ [..., m] at zero potential, in the first m − 1 of its entries."""

    # ---- what follows ----------------------------------------------------------------------

    def weights(self, theta: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """λ of θ; it sums to one over the species, to rounding."""
        return _shares(np.where(allowed, self.exponents(theta), -np.inf))

    def pulled_back(
        self, theta: np.ndarray, weights: np.ndarray, gradient: np.ndarray
    ) -> np.ndarray:
        """∂E/∂θ_l = v′(θ_l) λ_l (g_l − Σ_k λ_k g_k), from g = ∂E/∂λ at λ = ``weights``."""
        mean = (weights * gradient).sum(axis=-1, keepdims=True)
        return self.exponent_slopes(theta) * weights * (gradient - mean)

    def near(self, theta: np.ndarray, sharpness: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Return r_x(θ), which sums to one over x."""
        return _shares(np.where(allowed, sharpness * self.exponents(theta), -np.inf))

    def log_near(
        self, theta: np.ndarray, sharpness: np.ndarray, log_z: np.ndarray, allowed: np.ndarray
    ) -> np.ndarray:
        """Return ln k(θ|x) for every species x; −∞ for those that there are not.

        ``sharpness`` κ_x ≥ 0 and ``log_z`` ln Z_x have the shape of ``allowed``, or lead to it.
        """
        raised = np.where(allowed, sharpness * self.exponents(theta), -np.inf)
        log_r = raised - logsumexp(raised, axis=-1, keepdims=True)
        measure = np.where(allowed, self.log_measure(theta), 0.0).sum(axis=-1, keepdims=True)
        return np.where(allowed, measure + log_r - log_z, -np.inf)

    def log_near_slopes(
        self, theta: np.ndarray, sharpness: np.ndarray, shares: np.ndarray, allowed: np.ndarray
    ) -> np.ndarray:
        """Σ_x share_x ∂ ln k(θ|x)/∂θ, for shares that sum to one."""
        apart = shares - self.near(theta, sharpness, allowed)
        found = self.log_measure_slopes(theta) + sharpness * self.exponent_slopes(theta) * apart
        return np.where(allowed, found, 0.0)

    def log_normaliser(self, sharpness: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Return ln Z_x, the shape of ``allowed`` [n_groups, K]."""
        found = np.zeros(allowed.shape)
        for row, there in enumerate(allowed):
            kappa = tuple(float(value) for value in sharpness[row, there])
            found[row, there] = _log_normaliser(self, kappa)
        return found

    def draw_near(
        self,
        states: np.ndarray,
        sharpness: np.ndarray,
        allowed: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Draw θ [n_groups, K] of k(θ|x) for the species x [n_groups] that groups hold.

        By refusal: θ of the measure is kept with the probability r_x(θ).
        """
        found = np.zeros(allowed.shape)
        left = np.arange(len(states))
        while len(left):
            theta = self.draw_measure((len(left), allowed.shape[1]), rng)
            near = self.near(theta, sharpness[left], allowed[left])
            kept = rng.random(len(left)) < near[np.arange(len(left)), states[left]]
            found[left[kept]] = theta[kept]
            left = left[~kept]
        return np.where(allowed, found, 0.0)


def _shares(exponents: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    risen = np.exp(exponents - exponents.max(axis=-1, keepdims=True))
    return risen / risen.sum(axis=-1, keepdims=True)


@lru_cache(maxsize=256)
def _log_normaliser(simplex: SimplexMap, sharpness: tuple[float, ...]) -> np.ndarray:
    r"""Return ln Z_x for every species of a group.

    With 1/A = ∫ exp(−tA) dt, the mean of r_x falls apart into means over one coordinate,

    .. math:: Z_x = \int_0^∞ \langle e^{κ_x v − t e^{κ_x v}} \rangle
              \prod_{l ≠ x} \langle e^{−t e^{κ_l v}} \rangle\, dt,

    here by the trapezoidal rule in ln t, whose error at steps h is of the order of e^{−π²/h}. All κ
    alike give 1/m.
    """
    if len(set(sharpness)) == 1:
        return np.full(len(sharpness), -np.log(len(sharpness)))
    v, share = simplex.nodes()
    ends = np.outer(sharpness, [v.min(), v.max()])
    log_t = np.arange(-ends.max() - 40.0, -ends.min() + 5.0, LOG_T_STEP)
    first, rest = np.zeros((2, len(sharpness), len(log_t)))
    for x, kappa in enumerate(sharpness):
        for begin in range(0, len(log_t), LOG_T_BLOCK):
            block = slice(begin, begin + LOG_T_BLOCK)
            raised = np.exp(np.minimum(log_t[block, None] + kappa * v, 50.0))
            decayed = np.exp(-raised)
            first[x, block] = (raised * decayed) @ share
            rest[x, block] = decayed @ share
    products = [
        first[x] * np.prod([rest[k] for k in range(len(rest)) if k != x], axis=0)
        for x in range(len(rest))
    ]
    z = LOG_T_STEP * np.sum(products, axis=1)
    return np.log(z / z.sum())


@dataclass(frozen=True)
class CompactMap(SimplexMap):
    r"""λ_k = exp(c sin θ_k) / Σ_l exp(c sin θ_l), θ uniform on a torus.

    The map of multisite λ-dynamics (Knight and Brooks 2011, doi:10.1002/jcc.21921 and
    doi:10.1021/ct200444f), c = 5.5 by
    default, with which a large part of all θ lies near a vertex.

    The density of λ at zero potential follows from independent v_k = c sin θ_k of density
    f(v) = 1/π√(c² − v²). With d_k = ln(λ_k/λ_m),

    .. math:: p_0(λ) = \frac{1}{\prod_{k=1}^m λ_k} \int f(v) \prod_{k<m} f(v + d_k)\, dv,

    for two species K(1 − d²/4c²)/(π²c λ₁λ₂) with the complete elliptic integral K(m) of the
    parameter m. It is zero where |d_k − d_l| > 2c for a pair, and rises without bound, as a
    logarithm, where the two least or the two largest weights are equal (of two species, at λ = ½).

    Parameters
    ----------
    c
        Above zero: how near the vertices λ comes; the least λ is about exp(−2c).

    Raises
    ------
    InputError
        If c is no number above zero.

    Examples
    --------
    >>> there = np.array([True, True])
    >>> CompactMap().weights(np.array([np.pi / 2, -np.pi / 2]), there).round(5).tolist()
    [0.99998, 2e-05]
    >>> CompactMap().density(np.array([[0.9, 0.1], [0.6, 0.4]])).round(4).tolist()
    [0.6176, 0.3599]
    """

    c: float = 5.5

    name: ClassVar[str] = "compact"

    def __post_init__(self) -> None:
        if not is_number(self.c) or self.c <= 0:
            raise InputError(f"c is {shown(self.c)}; give a number above 0, such as 5.5")

    @property
    def steepest(self) -> float:
        """Return c."""
        return float(self.c)

    def exponents(self, theta: np.ndarray) -> np.ndarray:
        """Return c sin θ."""
        return self.c * np.sin(theta)

    def exponent_slopes(self, theta: np.ndarray) -> np.ndarray:
        """Return c cos θ."""
        return self.c * np.cos(theta)

    def log_measure(self, theta: np.ndarray) -> np.ndarray:
        """Return −ln 2π."""
        return np.full(np.shape(theta), -np.log(2.0 * np.pi))

    def log_measure_slopes(self, theta: np.ndarray) -> np.ndarray:
        """Zero: the measure is uniform."""
        return np.zeros(np.shape(theta))

    def draw_measure(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Uniform angles."""
        return np.pi * (2.0 * rng.random(shape) - 1.0)

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Angles in equal steps over half of the circle, the other half being the same."""
        number = 400
        angles = np.pi * ((np.arange(number) + 0.5) / number - 0.5)
        return self.c * np.sin(angles), np.full(number, 1.0 / number)

    def density(self, weights: np.ndarray) -> np.ndarray:
        """p₀(λ), [...]: elliptic integral for two species, else one-dimensional quadrature.

        The quadrature is a double-exponential rule in the angle between the limits, whose
        endpoints are singular (Takahasi and Mori 1974, doi:10.2977/prims/1195192451).
        """
        weights = np.asarray(weights, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(weights)
            apart = logs - logs[..., -1:]
            span = apart.max(axis=-1) - apart.min(axis=-1)
            inside = (weights > 0.0).all(axis=-1) & (span < 2.0 * self.c)
        if weights.shape[-1] == 2:
            ratio = np.where(inside, span / (2.0 * self.c), 0.0)
            log_integral = np.log(ellipkm1(ratio**2) / (np.pi**2 * self.c))
        else:
            log_integral = self._quadrature(np.where(inside[..., None], apart, 0.0))
        found = np.exp(log_integral - np.where(inside, logs.sum(axis=-1), 0.0))
        return np.where(inside, found, 0.0)

    def _quadrature(self, apart: np.ndarray) -> np.ndarray:
        """Return ln ∫ Π_k f(v + d_k) dv over all v with |v + d_k| < c."""
        above_least = apart - apart.min(axis=-1, keepdims=True)
        below_most = apart.max(axis=-1, keepdims=True) - apart
        half = self.c - 0.5 * above_least.max(axis=-1)
        t = np.linspace(-3.6, 3.6, 361)
        stretched = 0.5 * np.pi * np.sinh(t)
        # φ from 0 to π, and what is left of it to π, each to full relative precision.
        left, right = (np.pi / (1.0 + np.exp(sign * 2.0 * stretched)) for sign in (-1.0, 1.0))
        steps = 0.5 * np.pi * (t[1] - t[0]) * 0.5 * np.pi * np.cosh(t) / np.cosh(stretched) ** 2
        from_low = 2.0 * half[..., None] * np.sin(0.5 * left) ** 2  # v less its lower limit
        from_high = 2.0 * half[..., None] * np.sin(0.5 * right) ** 2
        # dv = √(from_low · from_high) dφ, which takes up the two singular factors.
        log_terms = np.log(steps) + 0.5 * (np.log(from_low) + np.log(from_high))
        for k in range(apart.shape[-1]):
            product = (from_low + above_least[..., k, None]) * (
                from_high + below_most[..., k, None]
            )
            log_terms = log_terms - 0.5 * np.log(product) - np.log(np.pi)
        return np.asarray(logsumexp(log_terms, axis=-1))


@dataclass(frozen=True)
class SoftmaxMap(SimplexMap):
    r"""λ_k = exp θ_k / Σ_l exp θ_l with a measure that confines θ, so that λ is Dirichlet.

    A softmax of free θ has no normalisable measure. Here exp θ_k has the Gamma density of shape a,
    which with the Jacobian exp θ_k of the logarithm is

    .. math:: \prod_k \frac{\exp(aθ_k − e^{θ_k})}{Γ(a)}

    over θ, and the λ of it is Dirichlet(a, …, a) at zero potential: uniform on the simplex for
    a = 1, near the vertices for small a.

    Parameters
    ----------
    a
        0.05 to 100: of a smaller one θ spreads over 38/a, of a larger one λ hardly moves.

    Raises
    ------
    InputError
        If a is no such number.

    Examples
    --------
    >>> SoftmaxMap(a=1.0).density(np.array([[0.2, 0.3, 0.5]])).round(12).tolist()  # 1/area
    [2.0]
    """

    a: float = 0.5

    name: ClassVar[str] = "softmax"

    def __post_init__(self) -> None:
        if not is_number(self.a) or not LEAST_A <= self.a <= MOST_A:
            raise InputError(
                f"a is {shown(self.a)}; give a number from {LEAST_A} to {MOST_A:g}, such as 0.5"
            )

    @property
    def steepest(self) -> float:
        """Return one."""
        return 1.0

    def exponents(self, theta: np.ndarray) -> np.ndarray:
        """θ itself."""
        return np.asarray(theta)

    def exponent_slopes(self, theta: np.ndarray) -> np.ndarray:
        """Return one."""
        return np.ones(np.shape(theta))

    def log_measure(self, theta: np.ndarray) -> np.ndarray:
        """Return aθ − e^θ − ln Γ(a)."""
        return self.a * theta - _risen(theta) - gammaln(self.a)

    def log_measure_slopes(self, theta: np.ndarray) -> np.ndarray:
        """Return a − e^θ."""
        return self.a - _risen(theta)

    def draw_measure(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Logarithms of Gamma variates; for small shapes too, as Γ(a) is Γ(a + 1) U^(1/a)."""
        drawn = np.log(rng.standard_gamma(self.a + 1.0, size=shape))
        return np.asarray(drawn + np.log1p(-rng.random(shape)) / self.a)

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Equal steps in θ, from where the measure begins to where it ends."""
        theta = np.arange(-38.0 / self.a, np.log(self.a + 60.0), 0.05)
        shares = np.exp(self.log_measure(theta))
        return theta, shares / shares.sum()

    def density(self, weights: np.ndarray) -> np.ndarray:
        """Dirichlet density Γ(ma)/Γ(a)^m Π_k λ_k^(a − 1), [...]."""
        weights = np.asarray(weights, dtype=np.float64)
        number = weights.shape[-1]
        inside = np.asarray((weights > 0.0).all(axis=-1))
        logs = np.log(np.where(inside[..., None], weights, 1.0)).sum(axis=-1)
        constant = gammaln(number * self.a) - number * gammaln(self.a)
        return np.where(inside, np.exp(constant + (self.a - 1.0) * logs), 0.0)


def _risen(theta: np.ndarray) -> np.ndarray:
    """e^θ, held below overflow: such θ are refused anyway."""
    return np.exp(np.minimum(theta, 500.0))
