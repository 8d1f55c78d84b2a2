"""Every temperature of the rock-salt order of Pb(Sc,Ta)O3 from one density of states.

``python examples/wang_landau.py [--size 4] [--final 1e-6] [--windows 1]``: the bundled potential is
expanded to second order in the species at the mean composition, which takes a few evaluations;
Wang–Landau sampling of the expansion then gives ln g(E), and with it energy, heat capacity, entropy
and order at any temperature. What the expansion is worth beside the potential: docs/samplers.md.
"""

import argparse

import numpy as np

from alchemc import AlchemicalMACE, WangLandau, analysis, builders, potentials

HALF = {"B": {"Sc": 0.5, "Ta": 0.5}}


def main(arguments: list[str] | None = None) -> None:
    """Sample the density of states and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4, help="cells along every axis, even")
    parser.add_argument("--final", type=float, default=1e-5, help="last increment of ln g")
    parser.add_argument("--windows", type=int, default=1, help="windows of the energy")
    options = parser.parse_args(arguments)

    size = (options.size, options.size, options.size)
    lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.09, size=size)
    mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    expansion = potentials.taylor_expansion(mace, lattice.mean_weights(HALF))

    def rock_salt(occupations: np.ndarray) -> np.ndarray:
        """|ψ|² of every occupation."""
        return analysis.ordering_series(lattice, occupations, "rock-salt").values.ravel()

    sampler = WangLandau(
        expansion, "swap", HALF, bin_width=0.01 * lattice.n_sites / 4, final=options.final,
        n_windows=options.windows,
    )  # fmt: skip
    density = sampler.run(seed=1, observables={"rock_salt": rock_salt}, n_draws=1000)

    energies = density.energies
    print(f"{len(energies)} bins from {energies[0]:.3f} to {energies[-1]:.3f} eV")
    print(f"ln g of the lowest: {density.ln_g[0]:.2f} ± {density.ln_g_error[0]:.2f}")
    table = density.averages(np.geomspace(1500.0, 12_000.0, 10))
    print("   T (K)  C (k_B per site)     S (k_B per site)     rock-salt |ψ|²")
    for row in (table.isel(temperature=n) for n in range(table.sizes["temperature"])):
        columns = [
            f"{float(row[name]):9.3f} ± {float(row[f'{name}_error']):.3f}"
            for name in ("heat_capacity", "entropy", "rock_salt")
        ]
        print(f"{float(row.temperature):8.0f}  " + "    ".join(columns))


if __name__ == "__main__":
    main()
