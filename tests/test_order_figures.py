"""Figures of scattering and environments say what they show and refuse what they cannot."""

import numpy as np
import pytest

from alchemc.analysis import (
    analyze_run,
    anion_environments,
    diffuse_path,
    structure_factor,
    structure_factor_map,
)
from alchemc.analysis.plots import (
    plot_diffuse_path,
    plot_environments,
    plot_structure_factor_map,
    plot_warren_cowley_shells,
)
from alchemc.errors import InputError
from analysis_cases import HALF, exact_run, ordered, perovskite


def drawn(lattice, number=40):
    rng = np.random.default_rng(1)
    return lattice.random(HALF, rng, number).reshape(number // 2, 2, lattice.n_sites)


def test_a_map_has_its_plane_axes_and_units(tmp_path):
    lattice = perovskite(4, 4, 4)
    table = structure_factor_map(lattice, drawn(lattice), "hk1/2", "neutron", extent=(1, 2))
    figure = plot_structure_factor_map(table)
    axes, bar = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("h", "k", "l = 1/2")
    assert bar.get_ylabel() == "Intensity per site (fm²)"
    laue = plot_structure_factor_map(table, "diffuse_laue", logarithmic=False)
    assert laue.axes[1].get_ylabel() == "Diffuse intensity per site (Laue units)"
    figure.savefig(tmp_path / "map.pdf")
    assert (tmp_path / "map.pdf").stat().st_size > 2000


def test_the_peak_of_the_map_lies_where_the_superlattice_point_is():
    lattice = perovskite(4, 4, 4)
    table = structure_factor_map(lattice, ordered(lattice, "rock-salt"), "hk1/2", extent=(1, 1))
    mesh = plot_structure_factor_map(table, logarithmic=False).axes[0].collections[0]
    values = np.asarray(mesh.get_array()).reshape(5, 5)
    assert np.unravel_index(values.argmax(), values.shape) == (2, 2)


def test_lengths_of_a_diagonal_plane_are_true():
    lattice = perovskite(2, 2, 2)
    table = structure_factor_map(lattice, drawn(lattice), "hhl", extent=(1, 1))
    axes = plot_structure_factor_map(table).axes[0]
    assert axes.get_aspect() == pytest.approx(1 / np.sqrt(2))
    assert axes.get_xlabel() == "(h h 0)"


def test_paths_of_several_temperatures_are_told_apart_and_bragg_points_left_out():
    lattice = perovskite(4, 4, 4)
    table = diffuse_path(lattice, drawn(lattice))
    axes = plot_diffuse_path({"900 K": table, "1200 K": table}).axes[0]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["900 K", "1200 K"]
    line = axes.containers[0].lines[0]
    assert len(line.get_xdata()) == 7  # nine points, Γ twice
    assert [t.get_text() for t in axes.get_xticklabels()] == ["Γ", "X", "M", "R", "Γ"]


def test_environments_that_never_occur_are_left_out_and_open_markers_did_not_converge():
    lattice = perovskite(4, 4, 4)
    long = anion_environments(lattice, np.repeat(drawn(lattice, 400), 2, axis=0))
    short = anion_environments(lattice, ordered(lattice, "rock-salt"))
    axes = plot_environments({1200.0: long, 300.0: short}).axes[0]
    faces = {
        float(line.get_xdata()[0]): line.get_markerfacecolor()
        for line in axes.lines
        if line.get_marker() == "o" and len(line.get_xdata())
    }
    assert faces[300.0] == "white"
    assert faces[1200.0] != "white"
    assert axes.get_ylabel() == "Fraction of O"


def test_short_range_order_is_drawn_shell_by_shell():
    run, _, _ = exact_run((500.0, 900.0))
    results = analyze_run(run, shells=2)
    axes = plot_warren_cowley_shells(results).axes[0]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["1: 4.00 Å", "2: 5.66 Å"]
    means = axes.containers[0].lines[0].get_ydata()
    assert means[0] < means[1] < 0


def test_tables_of_something_else_are_refused():
    lattice = perovskite(2, 2, 2)
    other = structure_factor(lattice, drawn(lattice))
    with pytest.raises(InputError, match="no map of 'mean'"):
        plot_structure_factor_map(other)
    with pytest.raises(InputError, match="no path"):
        plot_diffuse_path(other)
    with pytest.raises(InputError, match="one or more"):
        plot_environments({})
    with pytest.raises(InputError, match="results hold none"):
        plot_warren_cowley_shells({"points": [{"warren_cowley": [], "temperature": 1.0}]})
