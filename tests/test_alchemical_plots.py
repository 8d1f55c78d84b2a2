"""Figures of free energies along paths show the numbers they are made of, with units."""

import numpy as np
import pytest

from alchemc.alchemical_records import Works
from alchemc.analysis import switching_free_energy, window_free_energy
from alchemc.analysis.plots import plot_convergence, plot_overlap, plot_slopes, plot_work
from alchemc.errors import InputError
from works_and_windows import gaussian_works, harmonic_windows


@pytest.fixture(scope="module")
def path():
    windows, exact = harmonic_windows(np.random.default_rng(1), 5, (200, 2), dimension=3)
    return window_free_energy(windows, parts=5), exact


@pytest.fixture(scope="module")
def switched():
    return switching_free_energy(gaussian_works(np.random.default_rng(2), (300, 200), 1.5))


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_every_figure_is_labelled_and_is_vector_graphics(path, switched, tmp_path):
    result, _ = path
    labels = {
        plot_overlap(result): ("Coupling $s$, weighed in", "Coupling $s$, drawn in"),
        plot_work(switched): ("Work (eV)", "Probability density (1/eV)"),
        plot_convergence(result): ("Part of the draws (%)", r"$\Delta F$ (eV)"),
        plot_slopes(result): (
            "Coupling $s$",
            r"$\langle \mathrm{d}U/\mathrm{d}s \rangle$ (eV)",
        ),
    }
    for k, (figure, expected) in enumerate(labels.items()):
        axes = figure.axes[0]
        assert (axes.get_xlabel(), axes.get_ylabel()) == expected
        figure.savefig(tmp_path / f"{k}.pdf")
        assert (tmp_path / f"{k}.pdf").stat().st_size > 4000


def test_the_overlap_figure_holds_the_matrix_and_frames_what_is_too_little(path):
    result, _ = path
    axes = plot_overlap(result).axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), result.overlap)
    assert not axes.lines
    written = {text.get_text() for text in axes.texts}
    assert f"{result.overlap[0, 0]:.2f}".lstrip("0") in written
    poor, _ = harmonic_windows(np.random.default_rng(16), 4, (400, 2), dimension=60)
    axes = plot_overlap(window_free_energy(poor, parts=0)).axes[0]
    assert len(axes.lines) % 2 == 0
    assert len(axes.lines) >= 2
    many, _ = harmonic_windows(np.random.default_rng(3), 16, (30, 1))
    assert not plot_overlap(window_free_energy(many, parts=0)).axes[0].texts


def test_works_reversed_are_drawn_with_the_opposite_sign_and_cross_at_the_free_energy(switched):
    figure = plot_work(switched)
    axes = figure.axes[0]
    forward, reverse, line = (
        next(one for one in axes.lines if one.get_linestyle() == style and one.get_color() == c)
        for style, c in (("--", "#0072B2"), ("--", "#D55E00"), ("-", "black"))
    )
    top = [one.get_xdata()[np.argmax(one.get_ydata())] for one in (forward, reverse)]
    assert top[0] == pytest.approx(switched.works.forward.mean(), abs=0.01)
    assert top[1] == pytest.approx(-switched.works.reverse.mean(), abs=0.01)
    assert set(line.get_xdata()) == {switched.free_energy}
    density = [np.interp(switched.gaussian.value, *one.get_data()) for one in (forward, reverse)]
    assert density[0] == pytest.approx(density[1], rel=0.02)
    assert legend(figure)[0] == "$W$ forward"
    assert any("eV" in text for text in legend(figure))


def test_few_works_are_drawn_one_by_one_and_works_without_a_result_alone():
    few = gaussian_works(np.random.default_rng(4), (8, 9), 1.0)
    figure = plot_work(switching_free_energy(few))
    strokes = [one for one in figure.axes[0].lines if one.get_marker() == "|"]
    np.testing.assert_array_equal(strokes[1].get_xdata(), -few.reverse)
    assert len(strokes) == 2
    alone = plot_work(Works(few.forward, np.zeros(0), 300.0, n_steps=1))
    assert legend(alone) == ["$W$ forward"]
    still = plot_work(Works(np.full(20, 0.1), np.full(20, -0.1), 300.0, n_steps=1))
    assert legend(still) == ["$W$ forward", "$-W$ reverse"]


def test_the_course_in_time_ends_at_the_result_both_ways(path):
    result, _ = path
    figure = plot_convergence(result)
    assert legend(figure) == ["all draws", "forward", "backward"]
    assert len(figure.axes[0].containers) == 2
    for bars in figure.axes[0].containers:
        assert bars.lines[0].get_ydata()[-1] == pytest.approx(result.free_energy)
    windows, _ = harmonic_windows(np.random.default_rng(5), 3, (50, 2))
    with pytest.raises(InputError, match="parts=10"):
        plot_convergence(window_free_energy(windows, parts=0))


def test_the_area_under_the_slopes_is_the_integral(path):
    result, exact = path
    for source in (result, result.windows):
        figure = plot_slopes(source)
        curve = figure.axes[0].lines[0]
        area = np.sum(
            0.5 * (curve.get_ydata()[1:] + curve.get_ydata()[:-1]) * np.diff(curve.get_xdata())
        )
        assert area == pytest.approx(result.integrals["spline"].value, rel=1e-3)
        assert area == pytest.approx(exact, rel=0.2)
        assert "windows at 400 K" in legend(figure)
    two, _ = harmonic_windows(np.random.default_rng(6), 2, (50, 2))
    assert "spline" not in legend(plot_slopes(two))


def test_figures_go_into_axes_that_are_given(path):
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    axes = figure.subplots(2)
    assert plot_slopes(path[0], axes[0]) is figure
    assert plot_overlap(path[0], axes[1]) is figure


def test_what_a_figure_cannot_draw_is_refused_with_what_it_can(path, switched):
    wrong = [(plot_work, path[0]), (plot_overlap, switched), (plot_convergence, switched)]
    for draw, given in [*wrong, (plot_slopes, switched)]:
        with pytest.raises(InputError, match=f"{type(given).__name__} cannot be drawn here; give"):
            draw(given)
