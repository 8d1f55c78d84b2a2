"""Bond-valence parameters of cations with oxygen, from published tables."""

from __future__ import annotations

__all__ = ["OXYGEN_R0", "USUAL_B"]

USUAL_B = 0.37
"""The softness b in Å that all parameters of `OXYGEN_R0` go with."""

_BROWN_ALTERMATT = """
Al3 1.651   As3 1.789   As5 1.767   B3 1.371    Ba2 2.285   Be2 1.381   Bi3 2.094   C4 1.390
Ca2 1.967   Cd2 1.904   Cl7 1.632   Co2 1.692   Cr3 1.724   Cr6 1.794   Cs1 2.417   Cu2 1.679
Dy3 2.001   Eu3 2.074   Fe2 1.734   Fe3 1.759   Ga3 1.730   Ge4 1.748   Ho3 2.025   In3 1.902
K1 2.132    La3 2.172   Li1 1.466   Mg2 1.693   Mn2 1.790   Mn3 1.760   Mn4 1.753   Mo6 1.907
N5 1.432    Na1 1.803   Nb5 1.911   Ni2 1.654   Pb2 2.112   Pb4 2.042   Pr3 2.138   Pt4 1.879
Rb1 2.263   S4 1.644    S6 1.624    Sb5 1.942   Sc3 1.849   Se4 1.811   Se6 1.788   Sn4 1.905
Sr2 2.118   Ta5 1.920   Te4 1.977   Te6 1.917   Ti4 1.815   U6 2.075    V3 1.743    V4 1.784
V5 1.803    W6 1.917    Y3 2.019    Zn2 1.704   Zr4 1.928
"""

_BRESE_OKEEFFE = """
Ac3 2.24    Ag1 1.805   Am3 2.11    Au3 1.833   Bi5 2.06    Bk3 2.08    Br7 1.81    Ce3 2.151
Ce4 2.028   Cf3 2.07    Cm3 2.23    Co3 1.70    Cr2 1.73    Er3 2.010   Eu2 2.147   Gd3 2.065
Hf4 1.923   Hg1 1.90    Hg2 1.93    I7 1.93     Ir5 1.916   Lu3 1.971   Mn7 1.79    Nd3 2.117
Os4 1.811   P5 1.604    Pd2 1.792   Pt2 1.768   Pu3 2.11    Rh3 1.793   Ru4 1.834   Si4 1.624
Sm3 2.088   Sn2 1.984   Tb3 2.049   Th4 2.167   Ti3 1.791   Tl1 2.172   Tl3 2.003   Tm3 2.000
U4 2.112    U5 2.075    Yb3 1.985
"""


def _parsed(text: str) -> dict[tuple[str, int], float]:
    words = text.split()
    pairs = zip(words[::2], words[1::2], strict=True)
    return {(name.rstrip("123456789"), int(name[-1])): float(r0) for name, r0 in pairs}


OXYGEN_R0: dict[tuple[str, int], float] = _parsed(_BRESE_OKEEFFE) | _parsed(_BROWN_ALTERMATT)
"""R₀ in Å of bonds between a cation, by its symbol and charge, and O²⁻.

I. D. Brown and D. Altermatt, Acta Cryst. B 41, 244 (1985), doi:10.1107/S0108768185002063, where
they give one; else N. E. Brese and M. O'Keeffe, Acta Cryst. B 47, 192 (1991),
doi:10.1107/S0108768190011041.
"""
