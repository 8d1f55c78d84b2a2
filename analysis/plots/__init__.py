"""Figures for papers: vector graphics, labelled with units, in colours that all can tell apart."""

from .alchemical import plot_convergence, plot_overlap, plot_slopes, plot_work
from .animation import Frame, ordering_frames
from .ground_states import plot_ground_states
from .order import (
    plot_diffuse_path,
    plot_environments,
    plot_structure_factor_map,
    plot_warren_cowley_shells,
)
from .results import (
    plot_acceptance,
    plot_binder,
    plot_composition,
    plot_energy,
    plot_free_energy_slope,
    plot_heat_capacity,
    plot_order,
)
from .short_range import plot_series, plot_warren_cowley
from .solid_solution import plot_solid_solution
from .sqs import plot_sqs_clusters, plot_sqs_energy, plot_sqs_short_range
from .stability import plot_fraction_distribution, plot_mixing, plot_phase_diagram
from .structure import plot_structure
from .transitions import (
    plot_barriers,
    plot_cumulants,
    plot_energy_distributions,
    plot_finite_size,
    plot_heat_capacities,
)
from .waves import plot_waves

__all__ = [
    "Frame",
    "ordering_frames",
    "plot_acceptance",
    "plot_barriers",
    "plot_binder",
    "plot_composition",
    "plot_convergence",
    "plot_cumulants",
    "plot_diffuse_path",
    "plot_energy",
    "plot_energy_distributions",
    "plot_environments",
    "plot_finite_size",
    "plot_fraction_distribution",
    "plot_free_energy_slope",
    "plot_ground_states",
    "plot_heat_capacities",
    "plot_heat_capacity",
    "plot_mixing",
    "plot_order",
    "plot_overlap",
    "plot_phase_diagram",
    "plot_series",
    "plot_slopes",
    "plot_solid_solution",
    "plot_sqs_clusters",
    "plot_sqs_energy",
    "plot_sqs_short_range",
    "plot_structure",
    "plot_structure_factor_map",
    "plot_warren_cowley",
    "plot_warren_cowley_shells",
    "plot_waves",
    "plot_work",
]
