"""Chemical potentials of atoms in diatomic gases: a rigid rotor that vibrates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.thermochemistry import IdealGasThermo

from ...errors import InputError
from ...sublattice import is_number, shown, suggestion

__all__ = ["GasPotential", "gas_potential"]

_MOLECULES = {  # bond in Å, wave number in cm⁻¹, spin
    "H": (0.74144, 4401.2, 0.0),
    "N": (1.09768, 2358.6, 0.0),
    "O": (1.20752, 1580.2, 1.0),
}


@dataclass(frozen=True)
class GasPotential:
    """μ of an atom in a gas of its diatomic molecule, in eV per atom.

    ``energy``: half the molecule's potential energy; ``zero_point``: half its zero-point energy;
    ``thermal``: what temperature and pressure add, zero at 0 K.
    """

    symbol: str
    energy: float
    zero_point: float
    thermal: float
    temperature: float
    pressure: float

    @property
    def value(self) -> float:
        """μ in eV per atom."""
        return self.energy + self.zero_point + self.thermal

    @property
    def name(self) -> str:
        """What it is of."""
        return f"half of {self.symbol}2 at {self.temperature:g} K and {self.pressure:g} bar"

    @property
    def statement(self) -> str:
        """What it is, in sentences with numbers."""
        return (
            f"{self.name}: {self.value:.4f} eV, of which {self.energy:.4f} is the energy per atom "
            f"of the molecule, {self.zero_point:.4f} its zero point and {self.thermal:.4f} "
            "temperature and pressure (ideal gas, rigid rotor, harmonic vibration)"
        )


def gas_potential(
    symbol: str, energy: float, temperature: float, pressure: float = 1.0
) -> GasPotential:
    r"""Chemical potential of an atom in a gas of H2, N2 or O2.

    .. math:: μ(T, p) = ½ \left[E + ½ħω + ΔG(T, p°) + k_BT \ln(p/p°)\right]

    by ASE's ``IdealGasThermo`` with the measured bond, vibration and spin of the ground state
    (K. P. Huber and G. Herzberg, Constants of Diatomic Molecules, 1979). For oxygen the thermal
    part is within 0.01 eV of the tables that K. Reuter and M. Scheffler use (2001,
    doi:10.1103/PhysRevB.65.035406), 100 to 1,000 K.

    Parameters
    ----------
    symbol
        ``"H"``, ``"N"`` or ``"O"``.
    energy
        Potential energy of the molecule in eV, on the scale of the crystal's energy model: with a
        model that is not meant for molecules, a value fitted to oxides is the better one.
    temperature
        In K.
    pressure
        In bar.

    Raises
    ------
    InputError
        If the element is another, or a number is out of range.

    Examples
    --------
    >>> found = gas_potential("O", -9.86, 1000.0)
    >>> round(found.thermal, 2), round(found.zero_point, 3)
    (-1.1, 0.049)
    """
    if not isinstance(symbol, str) or symbol not in _MOLECULES:
        raise InputError(
            f"no diatomic gas of {symbol!r} is known; {suggestion(symbol, _MOLECULES)}"
        )
    for name, value in (("temperature", temperature), ("pressure", pressure)):
        if not is_number(value) or not 0 < value < np.inf:
            raise InputError(f"{name} is {shown(value)}; give a number above 0")
    if not is_number(energy) or not np.isfinite(energy):
        raise InputError(f"energy is {shown(energy)}; give the molecule's in eV")
    bond, wave_number, spin = _MOLECULES[symbol]
    molecule = Atoms([symbol, symbol], [[0.0, 0.0, 0.0], [0.0, 0.0, bond]])
    quantum = wave_number * units.invcm
    gas = IdealGasThermo(
        [quantum], "linear", potentialenergy=0.0, atoms=molecule, symmetrynumber=2, spin=spin
    )
    free = gas.get_gibbs_energy(temperature, pressure * 1e5, verbose=False)
    zero = 0.5 * quantum
    return GasPotential(
        symbol,
        0.5 * float(energy),
        0.5 * zero,
        0.5 * float(free - zero),
        float(temperature),
        float(pressure),
    )
