"""The campaign that ``alchemc init`` writes: small, valid, and every key explained."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from . import files

__all__ = ["STARTER", "write_starter"]

STARTER = """\
# A campaign of alchemc. Run it with `alchemc run FILE --output DIR`.
# Every key but those of [structure], the composition and the temperatures may be left out.
title = "Sr(Sc,Ta)O3, a first look"

[structure]
prototype = "perovskite"        # perovskite | rocksalt | spinel | fluorite; or file = "crystal.cif"
A = "Sr"                        # one symbol: these atoms stay
B = ["Sc", "Ta"]                # several: these sites exchange them (sublattice "B")
X = "O"
a = 3.98                        # lattice constant, Å
supercell = [2, 2, 2]           # cells along each axis
displacement = 0.0              # standard deviation of fixed displacements, Å per component

[sublattices.B]
composition = { Sc = 0.5, Ta = 0.5 }
charges = { Sc = 3, Ta = 5 }    # optional

[potential]
kind = "mace"                   # or "chgnet", for 89 elements (pip install "alchemc[chgnet]")
model = "bundled"               # a name from `alchemc models`, a directory, or a .model file ...
trust = false                   # ... which is pickled and can run code: true allows that
relax = false                   # true, or { cell = "isotropic", references = 2 }: every energy is
                                # that of the nearest minimum
dtype = "auto"                  # float64 on a CPU, float32 on a GPU and for CHGNet
device = "auto"                 # a GPU where there is one

[ensemble]
kind = "canonical"              # | "semi-grand" | "variance-constrained" | "charge-neutral"
temperatures = [20000, 10000, 6000]   # K; swept from the highest down
# sweep = "both"                # down and up again, so that hysteresis shows; or "up"
# In a semi-grand run the composition follows from chemical potentials (eV); one may be scanned:
# kind = "semi-grand"
# chemical_potentials = { B = { Ta = { from = -0.4, to = 0.4, steps = 9 }, Sc = 0.0 } }

[sampler]
kind = "surrogate"              # random-swap | random-flip | gibbs-with-gradients |
                                # path-auxiliary | discrete-langevin | table-exchange | mixture

[run]
chains = 4
draws = 200                     # stored configurations per chain and point, at most
thin = 1                        # steps between draws
warmup = 25                     # steps before the first draw, at every point
seed = 1                        # drawn and written to run.toml if left out
# precision = { energy = 0.05 } # end a point early at this standard error (eV per cell)

[analysis]
orders = ["rock-salt", "layered", "columnar"]
shells = 2
"""


def write_starter(path: Path) -> None:
    """Write the starter campaign to a new file.

    Raises
    ------
    InputError
        If the file exists or cannot be written.
    """
    if path.exists():
        raise InputError(f"{path} exists and is not overwritten; choose another name")
    try:
        files.replace_atomically(path, STARTER.encode())
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
