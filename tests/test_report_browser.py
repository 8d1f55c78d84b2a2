"""The report in headless Chromium, through the DevTools protocol: what a reader sees and does."""

import re

import numpy as np
import pytest

from alchemc.campaign.report import report_page
from alchemc.campaign.report_parts import Figure, Section, Series
from alchemc.records import Run, point_dataset
from analysis_cases import exact_run, perovskite
from campaign_tools import CHROMIUM
from devtools import Browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the report in"),
]

TEMPERATURES = (2400.0, 4000.0, 9000.0)
PICTURE = "document.getElementById('structure').toDataURL()"
LINES = """[...document.querySelectorAll(".plot")].map((plot) => [
  plot.id || plot.dataset.figure,
  plot.querySelectorAll(".scatterlayer .trace, .heatmaplayer image").length,
])"""
CONTRAST = """(() => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const linear = (x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  const channel = (x) => linear(x / 255);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    const skipped = "svg, script, style, noscript, option, .js-plotly-plot";
    if (!text || e.closest(skipped) || !e.offsetParent) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.push([ratio, `${e.tagName} ${e.className}: ${e.textContent.slice(0, 40)}`]);
  }
  return found.sort((a, b) => a[0] - b[0]).slice(0, 5);
})()"""


def sections() -> list[Section]:
    many = [Series(f"series {k}", (1.0, 2.0), (k, k + 1.0), (0.1, 0.2)) for k in range(7)]
    path = Figure(
        "Path",
        "q",
        "V (eV)",
        [Series("<b>V</b>", (0.0, 1.0, 2.0), (0.1, -0.2, None), line="dash")],
        ticks=[(0.0, "Γ"), (1.0, "R"), (2.0, "M")],
    )
    chart = Figure(
        "Map",
        "h",
        "k",
        values=[[1.0, None], [2.0, 3.0]],
        map_x=(0, 1),
        map_y=(0, 1),
        map_label="I (a.u.)",
    )
    region = Figure(
        "Diagram",
        "x",
        "Temperature (K)",
        [Series("two phases", (0.2, 0.5, 0.8, 0.2), (900, 1500, 900, 900), area=True)],
        bands=[(0.4, 0.6)],
        x_range=(0.0, 1.0),
    )
    log = Figure(
        "Logs",
        "L",
        "C (k_B)",
        [Series("C", (2.0, 20.0), (1.0, 10.0))],
        log="xy",
        y_range=(0.5, None),
    )
    return [
        Section(
            "Generic",
            "Said.",
            ["But."],
            [Figure("Many", "x (K)", "y (eV)", many), path, chart, region, log],
        )
    ]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A run of which one temperature did not converge, with a section of every kind of figure."""
    slow = tuple(t / 4 for t in TEMPERATURES)
    cool, states, energies = exact_run(slow, n_draws=600)
    points = [p.assign_coords(temperature=4 * float(p["temperature"])) for p in cool.points]
    stuck = points[0].copy(deep=True)
    stuck["occupation"][:, 0] = states[energies.argmax()]
    points[0] = stuck
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(
        report_page(Run(tuple(points), cool.lattice), None, sections()), encoding="utf-8"
    )
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("home")) as browser:
        yield browser


SCREENS = {
    "wide": {"width": 1600},
    "wide, dark": {"width": 1600, "dark": True},
    "narrow": {"width": 390, "height": 844, "mobile": True},
    "narrow, dark": {"width": 390, "height": 844, "dark": True, "mobile": True},
}


@pytest.mark.parametrize("screen", SCREENS)
def test_the_page_is_whole_quiet_and_readable(browser, report, screen):
    page = browser.open(report, **SCREENS[screen])
    page.pause()
    assert page.complaints() == []
    assert page.requests() == []
    drawn = dict(page.evaluate(LINES))
    assert {"plot-order", "plot-energy", "plot-shells", "plot-traces"} <= drawn.keys()
    assert all(drawn.values()), drawn
    assert page.evaluate("document.documentElement.scrollWidth") <= SCREENS[screen]["width"]
    assert len(page.evaluate(PICTURE)) > 10_000
    worst = page.evaluate(CONTRAST)
    assert worst[0][0] >= 4.5, worst  # WCAG 2.2, level AA
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(16, 21, 27)") is ("dark" in screen)


def test_plots_answer_the_mouse(browser, report):
    page = browser.open(report)
    page.pause()
    x, y, text = 0.0, 0.0, ""
    for k in range(3):  # on the first point of the first line
        x, y = page.place("#plot-order .scatterlayer .point")
        page.move(x + k - 1, y)
        page.pause(120)
        text = page.evaluate("document.querySelector('#plot-order .hoverlayer')?.textContent")
        if text:
            break
    assert re.search(r"rock-salt2,400: [\d.]+ ± [\d.]+ R-hat", text), text
    visible = (
        "document.getElementById('plot-order')._fullData.filter((t) => t.visible === true).length"
    )
    before = page.evaluate(visible)
    page.click("#plot-order .legendtoggle")
    page.pause(500)  # a second click would mean another thing
    assert page.evaluate(visible) == before - 1
    first = "document.getElementById('plot-traces').data[0].y.join()"
    before = page.evaluate(first)
    page.evaluate(
        "(s => { s.selectedIndex = 1; s.dispatchEvent(new Event('change')); })"
        "(document.getElementById('trace-quantity'))"
    )
    assert page.evaluate(first) != before
    assert page.complaints() == []


def test_names_in_figures_are_no_markup(browser, report):
    page = browser.open(report)
    page.pause()
    legend = "document.querySelector('[data-figure=generic-1] .legendtext').textContent"
    assert page.evaluate(legend) == "<b>V</b>"
    ticks = (
        "[...document.querySelectorAll('[data-figure=generic-1] .xtick')].map((t) => t.textContent)"
    )
    assert [text for text in page.evaluate(ticks) if text] == ["Γ", "R", "M"]
    assert "V (eV)" in page.evaluate(
        "document.querySelector('[data-figure=generic-1]').textContent"
    )


def test_the_legend_of_many_series_stays_above_the_plot(browser, report):
    for width in (390, 1600):
        page = browser.open(report, width=width)
        page.pause()
        bottom, top = page.evaluate(
            "['.legend .bg', '.nsewdrag'].map((s, k) => document.querySelector("
            "`[data-figure=generic-0] ${s}`).getBoundingClientRect()[['bottom', 'top'][k]])"
        )
        assert bottom <= top + 1
        axes = page.evaluate(
            "['generic-0', 'generic-1'].map((name) => document.querySelector("
            "`[data-figure=${name}] .nsewdrag`).getBoundingClientRect().height)"
        )
        assert axes[0] > 0.8 * axes[1]  # and takes nothing from it


def test_any_stored_structure_can_be_chosen_turned_and_played(browser, report):
    page = browser.open(report)
    page.pause()
    told = "document.getElementById('structure-told').textContent"
    seen = {"last": page.evaluate(PICTURE)}
    assert re.fullmatch(
        r"2,400 K, chain 1, draw 600 of 600: −?[\d.]+ eV per site", page.evaluate(told)
    )
    page.drag("#structure", 60, 25)
    seen["turned"] = page.evaluate(PICTURE)
    page.evaluate("document.getElementById('structure').focus()")
    page.press("+", 187, "+")
    seen["magnified"] = page.evaluate(PICTURE)
    page.press("ArrowLeft", 37)
    seen["by key"] = page.evaluate(PICTURE)
    page.click("[data-species]")
    seen["fewer"] = page.evaluate(PICTURE)
    assert len(set(seen.values())) == len(seen)
    page.click("[data-species]")
    page.press("Tab", 9)
    page.evaluate("document.getElementById('structure').focus()")
    page.press("0", 48, "0")
    assert page.evaluate(PICTURE) == seen["last"]
    choose = (
        "((id, value) => { const s = document.getElementById(id); s.value = value;"
        " s.dispatchEvent(new Event('change')); })"
    )
    page.evaluate(f"{choose}('structure-chain', '0')")
    page.evaluate(f"{choose}('structure-point', '2')")
    assert page.evaluate(told).startswith("9,000 K, chain 1, draw 600")
    page.evaluate(f"{choose}('structure-point', 'all')")
    assert page.evaluate(told).startswith(("2,400 K", "9,000 K"))
    place = "Number(document.getElementById('structure-draw').value)"
    assert page.evaluate(place) == 0
    page.evaluate("document.getElementById('structure-draw').focus()")
    page.press("ArrowRight", 39)
    assert page.evaluate(place) == 1
    page.click("#structure-play")
    page.pause(700)
    moved = page.evaluate(place)
    assert moved > 1
    page.click("#structure-play")
    stopped = page.evaluate(place)
    page.pause(400)
    assert page.evaluate(place) == stopped
    assert page.complaints() == []


def test_nothing_moves_for_readers_who_want_less_motion(browser, report):
    page = browser.open(report, still=True)
    page.pause()
    hidden = "getComputedStyle(document.getElementById('structure-play')).display"
    assert page.evaluate(hidden) == "none"
    page.evaluate("document.getElementById('structure-draw').value = 0")
    page.evaluate("document.getElementById('structure-play').click()")
    page.pause(400)
    assert page.evaluate("document.getElementById('structure-draw').value") == "0"


def test_atoms_stand_where_positions_were_sampled(browser, tmp_path):
    lattice = perovskite(2, 2, 2)
    rng = np.random.default_rng(1)
    arrays = {
        "occupation": lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, rng, 12).reshape(6, 2, 8),
        "energy": rng.normal(size=(6, 2)),
        "positions": lattice.atoms.positions + rng.normal(scale=0.2, size=(6, 2, 40, 3)),
        "cell": lattice.atoms.cell.array
        * np.linspace(1, 1.1, 6)[:, None, None, None]
        * np.ones((2, 1, 1)),
    }
    run = Run((point_dataset(arrays, {"temperature": 900.0}),), lattice)
    path = tmp_path / "report.html"
    path.write_text(report_page(run), encoding="utf-8")
    page = browser.open(path)
    page.pause()
    seen = [page.evaluate(PICTURE)]
    page.evaluate("document.getElementById('structure-draw').focus()")
    page.press("ArrowLeft", 37)
    seen.append(page.evaluate(PICTURE))
    assert seen[0] != seen[1]
    assert "at the positions of the draw" in page.evaluate("document.body.textContent")
    assert page.complaints() == []


def test_long_names_of_points_do_not_widen_the_page(browser, tmp_path):
    lattice = perovskite(2, 2, 2)
    rng = np.random.default_rng(3)
    points = []
    for sweep, mus in enumerate(((-0.12345, 0.12345), (0.12345, -0.12345))):
        for mu in mus:
            arrays = {
                "occupation": rng.integers(0, 2, (30, 2, 8)).astype(np.uint8),
                "energy": rng.normal(size=(30, 2)),
            }
            where = {"temperature": 1234.56, "mu_B_Ta": mu, "pressure": 12.5, "sweep": sweep}
            points.append(point_dataset(arrays, where))
    learnt = {
        "held_out_error_kT": 0.1, "fallback": "", "surrogate": "pairs", "expected_acceptance": 0.9,
        "region": 0, "sweeps": 3, "energies": 1, "gradients": 2, "hessian_products": 3,
    }  # fmt: skip
    run = Run(tuple(points), lattice, attrs={"learnt": dict.fromkeys(range(4), learnt)})
    path = tmp_path / "report.html"
    path.write_text(report_page(run), encoding="utf-8")
    for width in (360, 1600):
        page = browser.open(path, width=width, mobile=width < 500)
        page.pause()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        names = "[...document.querySelectorAll('tbody th')].map((th) => th.offsetWidth)"
        assert max(page.evaluate(names)) < width / 2
        assert page.complaints() == []


def test_the_whole_page_can_be_used_by_keyboard(browser, report):
    page = browser.open(report)
    page.pause()
    reached = set()
    focused = "(({id, className, tagName}) => id || className || tagName)(document.activeElement)"
    for _ in range(150):
        page.press("Tab", 9)
        reached.add(page.evaluate(focused))
    wanted = {
        "structure-point",
        "structure",
        "structure-draw",
        "structure-play",
        "zoom-in",
        "shell-pair",
        "scroll",
        "download",
    }
    assert wanted <= reached, reached


def test_on_paper_the_colours_are_light_and_nothing_is_cut_off(browser, report):
    page = browser.open(report, dark=True)
    page.pause()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    colour = "document.getElementById('plot-order').layout.font.color"
    assert page.evaluate(colour) == "#16202b"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(colour) == "#e8edf2"
