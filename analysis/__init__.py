"""Order parameters, thermodynamics and their errors, from samples; never from a sampler.

Arrays or labelled arrays go in, numbers with errors and verdicts come out. Names are loaded when
they are first used; figures for papers are in ``alchemc.analysis.plots``.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "ApparentTransition": "alchemc.analysis.transition",
    "Bracket": "alchemc.analysis.transition",
    "Caveat": "alchemc.analysis.caveats",
    "Coexistence": "alchemc.analysis.density_of_states",
    "ConcentrationWaves": "alchemc.analysis.waves.mean_field",
    "Consolute": "alchemc.analysis.stability.tangents",
    "DomainMap": "alchemc.analysis.order.domains",
    "ExcessModel": "alchemc.analysis.stability.mixing",
    "FreeEnergies": "alchemc.analysis.stability.free_energies",
    "GasPotential": "alchemc.analysis.alchemical.gases",
    "GroundStates": "alchemc.analysis.stability.ground_state_search",
    "HarmonicFreeEnergy": "alchemc.analysis.stability.vibrations",
    "Hull": "alchemc.analysis.stability.hull",
    "Loop": "alchemc.analysis.loops",
    "NAMED_ORDERS": "alchemc.analysis.order.commensurate",
    "Observations": "alchemc.analysis.stability.observations",
    "OrderingTemperature": "alchemc.analysis.stability.ordering_result",
    "OrderingVector": "alchemc.analysis.order.commensurate",
    "PhaseDiagram": "alchemc.analysis.stability.phase_diagram",
    "Reweighted": "alchemc.analysis.reweighting",
    "RoundTrips": "alchemc.analysis.ladders",
    "SQSComparison": "alchemc.analysis.sqs.results",
    "SampledPoint": "alchemc.analysis.stability.observations",
    "SolidFreeEnergy": "alchemc.analysis.alchemical.solids",
    "SpecialQuasirandom": "alchemc.analysis.sqs.structures",
    "SubstitutionFreeEnergy": "alchemc.analysis.alchemical.solids",
    "SwitchingFreeEnergy": "alchemc.analysis.alchemical.switching_result",
    "TieLine": "alchemc.analysis.stability.tangents",
    "TransitionSeries": "alchemc.analysis.stability.transition_series",
    "VacancyFormation": "alchemc.analysis.alchemical.solids",
    "VibrationalShift": "alchemc.analysis.stability.vibrational_shifts",
    "WindowFreeEnergy": "alchemc.analysis.alchemical.window_result",
    "analyze_run": "alchemc.analysis.overview",
    "anion_environments": "alchemc.analysis.order.anions",
    "apparent_transition": "alchemc.analysis.transition",
    "binder_cumulant": "alchemc.analysis.thermodynamics",
    "bond_valence_sums": "alchemc.analysis.order.bond_valences",
    "cluster_vectors": "alchemc.analysis.order.cluster_averages",
    "coexistence": "alchemc.analysis.density_of_states",
    "compare_sqs": "alchemc.analysis.sqs.comparison",
    "concentration_waves": "alchemc.analysis.waves.mean_field",
    "consolute_point": "alchemc.analysis.stability.tangents",
    "dHdl": "alchemc.analysis.alchemical.tables",
    "derived": "alchemc.analysis.estimates",
    "describe": "alchemc.analysis.estimates",
    "diagnostics": "alchemc.analysis.convergence",
    "diffuse_path": "alchemc.analysis.order.scattering_maps",
    "domain_map": "alchemc.analysis.order.domains",
    "domains": "alchemc.analysis.order.domains",
    "effective_fraction": "alchemc.analysis.reweighting",
    "energy_distribution": "alchemc.analysis.density_of_states",
    "enumerate_orderings": "alchemc.analysis.stability.enumeration",
    "equal_weight": "alchemc.analysis.stability.two_phases",
    "fit_excess": "alchemc.analysis.stability.mixing",
    "fraction_distribution": "alchemc.analysis.stability.two_phases",
    "free_energy": "alchemc.analysis.stability.free_energy",
    "gas_potential": "alchemc.analysis.alchemical.gases",
    "generate_sqs": "alchemc.analysis.sqs.generation",
    "ground_states": "alchemc.analysis.stability.ground_state_search",
    "harmonic_free_energy": "alchemc.analysis.stability.vibrations",
    "heat_capacity": "alchemc.analysis.thermodynamics",
    "hull_lines": "alchemc.analysis.stability.facets",
    "hysteresis": "alchemc.analysis.loops",
    "infinite_size": "alchemc.analysis.alchemical.solids",
    "inversion_degree": "alchemc.analysis.order.inversion",
    "landscape": "alchemc.analysis.caveats",
    "lower_hull": "alchemc.analysis.stability.hull",
    "mass_contribution": "alchemc.analysis.alchemical.solids",
    "mbar_averages": "alchemc.analysis.stability.averages",
    "mean_energy": "alchemc.analysis.thermodynamics",
    "measured_sqs": "alchemc.analysis.sqs.structures",
    "mixing_free_energy": "alchemc.analysis.stability.mixing",
    "observations": "alchemc.analysis.stability.observations",
    "ordering_amplitude": "alchemc.analysis.order.long_range",
    "ordering_series": "alchemc.analysis.order.long_range",
    "ordering_temperature": "alchemc.analysis.stability.critical",
    "ordering_vector": "alchemc.analysis.order.commensurate",
    "partial_structure_factors": "alchemc.analysis.order.structure_factor",
    "phase_diagram": "alchemc.analysis.stability.phase_diagram",
    "read_trajectory": "alchemc.analysis.trajectories",
    "reweighted": "alchemc.analysis.reweighting",
    "round_trips": "alchemc.analysis.ladders",
    "shortcoming": "alchemc.analysis.caveats",
    "site_order": "alchemc.analysis.order.registered",
    "spinodal": "alchemc.analysis.stability.tangents",
    "structure_factor": "alchemc.analysis.order.structure_factor",
    "structure_factor_map": "alchemc.analysis.order.scattering_maps",
    "summarize_series": "alchemc.analysis.estimates",
    "switching_free_energy": "alchemc.analysis.alchemical.switching",
    "tie_lines": "alchemc.analysis.stability.tangents",
    "transition_series": "alchemc.analysis.stability.transition_series",
    "u_nk": "alchemc.analysis.alchemical.tables",
    "vibrational_shift": "alchemc.analysis.stability.vibrational_shifts",
    "wang_landau_free_energy": "alchemc.analysis.stability.anchored",
    "warren_cowley": "alchemc.analysis.order.short_range",
    "warren_cowley_series": "alchemc.analysis.order.short_range",
    "window_free_energy": "alchemc.analysis.alchemical.windows",
    "work_table": "alchemc.analysis.alchemical.tables",
}

__all__ = [*_HOME]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'alchemc.analysis' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
