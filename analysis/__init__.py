"""Order parameters, thermodynamics and their errors, from samples; never from a sampler.

Arrays or labelled arrays go in, numbers with errors and verdicts come out. Figures for papers are
in ``alchemc.analysis.plots``.
"""

from .caveats import Caveat, landscape, shortcoming
from .commensurate import NAMED_ORDERS, OrderingVector, ordering_vector
from .density_of_states import Coexistence, coexistence, energy_distribution
from .estimates import derived, describe, summarize_series
from .hysteresis import Loop, hysteresis
from .long_range import ordering_amplitude, ordering_series
from .overview import analyze_run
from .reweighting import Reweighted, effective_fraction, reweighted
from .round_trips import RoundTrips, round_trips
from .short_range import warren_cowley, warren_cowley_series
from .thermodynamics import binder_cumulant, heat_capacity, mean_energy
from .transition import ApparentTransition, Bracket, apparent_transition

__all__ = [
    "NAMED_ORDERS",
    "ApparentTransition",
    "Bracket",
    "Caveat",
    "Coexistence",
    "Loop",
    "OrderingVector",
    "Reweighted",
    "RoundTrips",
    "analyze_run",
    "apparent_transition",
    "binder_cumulant",
    "coexistence",
    "derived",
    "describe",
    "effective_fraction",
    "energy_distribution",
    "heat_capacity",
    "hysteresis",
    "landscape",
    "mean_energy",
    "ordering_amplitude",
    "ordering_series",
    "ordering_vector",
    "reweighted",
    "round_trips",
    "shortcoming",
    "summarize_series",
    "warren_cowley",
    "warren_cowley_series",
]
