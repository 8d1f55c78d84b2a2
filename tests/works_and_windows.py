"""Paths whose free energies are known in closed form: Gaussian works, springs that stiffen."""

import numpy as np
from ase.units import kB

from alchemc.alchemical_records import Windows, Works


def correlated(rng, shape, rho):
    """Normal series along the first axis whose next value remembers ``rho`` of the last."""
    x = rng.normal(size=shape)
    for t in range(1, len(x)) if rho else ():
        x[t] = rho * x[t - 1] + np.sqrt(1.0 - rho**2) * x[t]
    return x


def gaussian_works(  # noqa: PLR0917
    rng, shapes, width, difference=0.3, rho=0.0, temperature=500.0
):
    """Works that obey Crooks' theorem: ⟨W⟩ = ±ΔF + σ²/2k_BT with σ = width k_BT both ways."""
    kt = kB * temperature
    forward, reverse = (
        sign * difference + kt * (0.5 * width**2 + width * correlated(rng, shape, rho))
        for sign, shape in zip((1.0, -1.0), shapes, strict=True)
    )
    return Works(forward, reverse, temperature, n_steps=10, label="A to B")


def stiffness(s, ends=(1.0, 6.0)):
    return ends[0] + (ends[1] - ends[0]) * s


def harmonic_windows(  # noqa: PLR0917
    rng, n_windows=5, shape=(300, 2), dimension=2, rho=0.0, temperature=400.0, ends=(1.0, 6.0)
):
    """Draws of U_s = K_s x²/2 − 3000 eV, K linear in s, and ΔF = d/2 k_BT ln(K₁/K₀)."""
    kt, s = kB * temperature, np.linspace(0.0, 1.0, n_windows)
    k = stiffness(s, ends)
    x = correlated(rng, (*shape, n_windows, dimension), rho)
    square = np.moveaxis((x**2).sum(axis=-1) * kt / k, (2, 1, 0), (0, 1, 2))
    energies = 0.5 * k * square[..., None] - 3000.0
    slopes = 0.5 * (ends[1] - ends[0]) * square
    exact = 0.5 * dimension * kt * np.log(ends[1] / ends[0])
    return Windows(s, energies, slopes, temperature, label="soft to stiff"), exact
