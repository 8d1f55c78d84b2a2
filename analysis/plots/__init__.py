"""Figures for papers: vector graphics, labelled with units, in colours that all can tell apart."""

from .results import (
    plot_composition,
    plot_energy,
    plot_free_energy_slope,
    plot_heat_capacity,
    plot_order,
)
from .waves import plot_waves

__all__ = [
    "plot_composition",
    "plot_energy",
    "plot_free_energy_slope",
    "plot_heat_capacity",
    "plot_order",
    "plot_waves",
]
