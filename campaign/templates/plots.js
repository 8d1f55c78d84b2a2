// What every plot of a report shares: the reader's colours, axes, error bars, verdicts; and figures
// that come as plain data.
window.ReportPlots = (() => {
  "use strict";
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (k) => css(`--c${k % 6}`);
  const twoDigits = (x) => String(Number(x.toPrecision(2)));
  const marks = ["circle", "diamond", "square", "triangle-up", "star", "pentagon"];
  const config = {
    displaylogo: false, displayModeBar: innerWidth > 640 ? "hover" : false, // on a phone it would cover the legend
    modeBarButtons: [["zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]], // no others: one would send the chart away
    showSendToCloud: false, plotlyServerURL: "",
  };

  function layout(x, y, extra = {}) {
    const axis = (title) => ({
      title: { text: title, standoff: 10, font: { size: 13 } }, gridcolor: css("--grid"), linecolor: css("--line"), zerolinecolor: css("--line"),
      automargin: true, ticks: "outside", tickcolor: css("--line"), separatethousands: true, exponentformat: "none",
    });
    const { xaxis = {}, yaxis = {}, ...rest } = extra;
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: css("--ink") },
      margin: { l: 60, r: 14, t: 34, b: 48 }, hovermode: "closest",
      hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line"), font: { color: css("--ink") } },
      legend: { orientation: "h", x: 0, y: 1.02, xanchor: "left", yanchor: "bottom", tracegroupgap: 0 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--soft"), activecolor: css("--accent") },
      xaxis: { ...axis(x), ...xaxis }, yaxis: { ...axis(y), ...yaxis }, ...rest,
    };
  }

  function shade(lower, upper) {
    return { type: "rect", xref: "x", yref: "paper", x0: lower, x1: upper, y0: 0, y1: 1, line: { width: 0 }, fillcolor: css("--band"), layer: "below" };
  }

  const rowHeight = 20, above = 15, legendRoom = 40; // px; what the style's height of a plot holds of a legend

  // Draw a plot. A legend above it makes the plot taller, not its axes shorter: first for the most
  // rows that it may have, then for those it has.
  function show(element, traces, chart) {
    element.style.height = "";
    const height = element.offsetHeight;
    const names = chart.showlegend ? traces.filter((t) => t.showlegend !== false).map((t) => t.name) : [];
    const give = (room) => {
      element.style.height = `${height + Math.max(0, room - legendRoom)}px`;
      return { ...chart.margin, t: above + room };
    };
    const perRow = Math.max(1, Math.floor((element.clientWidth - 74) / (44 + 7.5 * Math.max(...names.map((n) => n.length), 1))));
    const guess = rowHeight * Math.ceil(names.length / perRow);
    Plotly.react(element, traces, { ...chart, margin: give(guess) }, config);
    const legend = names.length ? element.querySelector(".legend .bg")?.getBoundingClientRect().height : 0;
    if (legend && Math.abs(legend - guess) > rowHeight / 2) {
      Plotly.react(element, traces, { ...chart, margin: give(legend), height: element.offsetHeight }, config);
      Plotly.Plots.resize(element);
    }
  }

  // What did not converge: a red cross on top of it, without a hover text of its own.
  function crossesOn(xs, ys) {
    return {
      x: xs, y: ys, name: "not converged", mode: "markers", type: "scatter",
      marker: { symbol: "x-thin", size: 13, line: { color: css("--red"), width: 3 } }, hoverinfo: "skip", legendgroup: "bad", showlegend: false,
    };
  }

  // A line with error bars; what did not converge is marked.
  function withErrors(xs, numbers, name, k, unit, { symbol = k, back = false, xErrors = null } = {}) {
    const style = {
      x: xs, y: numbers.map((n) => n.mean), name, mode: "lines+markers", type: "scatter",
      error_y: { type: "data", array: numbers.map((n) => n.error ?? 0), thickness: 1.5, width: 4 },
      line: { color: colour(k), width: 2, dash: back ? "dash" : "solid" }, marker: { size: 8, color: colour(k), symbol: marks[symbol % 6] + (back ? "-open" : ""), line: { width: back ? 2 : 0, color: colour(k) } },
      customdata: numbers.map((n) => [n.error === null ? (n.converged ? "–" : "unknown") : twoDigits(n.error), n.rhat === null ? "–" : n.rhat.toFixed(3), n.ess === null ? "–" : Math.round(n.ess), n.why ? `<br>not converged: ${n.why}` : ""]),
      hovertemplate: `${name}<br>%{x:,.6~g}: %{y:.5~g} ± %{customdata[0]} ${unit}<br>R-hat %{customdata[1]}, ESS %{customdata[2]}%{customdata[3]}<extra></extra>`,
    };
    if (xErrors) style.error_x = { type: "data", array: xErrors, thickness: 1.5, width: 4, color: colour(k) };
    const bad = numbers.map((n, i) => i).filter((i) => !numbers[i].converged && numbers[i].mean !== null);
    return bad.length ? [style, crossesOn(bad.map((i) => xs[i]), bad.map((i) => numbers[i].mean))] : [style];
  }

  function legendOfCrosses(traces) {
    const first = traces.find((t) => t.legendgroup === "bad");
    if (first) first.showlegend = true;
    return [...traces.filter((t) => t.legendgroup !== "bad"), ...traces.filter((t) => t.legendgroup === "bad")];
  }

  const scales = () => (css("--page") < "#8" ? ["#f2d16b", "#e8837f", "#9a86e8", "#5bb4f0"] : ["#d98e04", "#c43c5b", "#6b3fa0", "#0b5fa5"]);

  // Colour of an ordered quantity, t from 0 to 1.
  function along(t) {
    const scale = scales();
    const s = t * (scale.length - 1), k = Math.min(Math.floor(s), scale.length - 2), f = s - k;
    const part = (hex, n) => parseInt(hex.slice(1 + 2 * n, 3 + 2 * n), 16);
    return `rgb(${[0, 1, 2].map((n) => Math.round(part(scale[k], n) * (1 - f) + part(scale[k + 1], n) * f)).join(",")})`;
  }

  // Names may hold anything: none of it is markup, but for the index of k_B.
  const plain = (text) => text.replaceAll("<", "&lt;").replaceAll("k_B", "k<sub>B</sub>");

  // The unit at the end of an axis label, for hover texts.
  const unitOf = (label) => plain((/\(([^()]*)\)$/.exec(label) ?? ["", ""])[1]);

  function seriesTraces(series, place, spec) {
    const k = series.colour ?? place;
    const name = plain(series.name || spec.y);
    const marked = series.points && !series.area;
    const shown = series.error ? series.error.map((e) => [e === null ? "?" : twoDigits(e)]) : null;
    const spread = shown ? " ± %{customdata[0]}" : "";
    const trace = {
      x: series.x, y: series.y, name, type: "scatter",
      mode: [series.line ? "lines" : "", marked ? "markers" : ""].filter(Boolean).join("+") || "markers",
      line: { color: colour(k), width: series.area ? 1 : 2, dash: series.line ?? "solid" },
      marker: { size: 8, color: colour(k), symbol: marks[k % 6] },
      hovertemplate: `${name}<br>%{x:,.6~g}: %{y:.5~g}${spread} ${unitOf(spec.y)}<extra></extra>`,
    };
    if (spec.ticks.length) {
      const labels = new Map(spec.ticks.map(([at, text]) => [at, text]));
      trace.text = series.x.map((x) => labels.get(x) ?? String(Number(x?.toPrecision(4))));
      trace.hovertemplate = `${name}<br>%{text}: %{y:.5~g}${spread} ${unitOf(spec.y)}<extra></extra>`;
    }
    if (shown) Object.assign(trace, { customdata: shown, error_y: { type: "data", array: series.error.map((e) => e ?? 0), thickness: 1.5, width: 4 } });
    if (series.x_error) trace.error_x = { type: "data", array: series.x_error.map((e) => e ?? 0), thickness: 1.5, width: 4 };
    if (series.area) Object.assign(trace, { fill: "toself", fillcolor: `${colour(k)}33`, hoveron: "fills", text: name, hoverinfo: "text", hovertemplate: undefined });
    const bad = (series.converged ?? []).map((good, i) => (good ? -1 : i)).filter((i) => i >= 0 && series.y[i] !== null);
    return bad.length ? [trace, crossesOn(bad.map((i) => series.x[i]), bad.map((i) => series.y[i]))] : [trace];
  }

  // A figure as the report describes it; see docs/report.md.
  function drawFigure(element, spec) {
    const wide = (range, log) => { // marks at the ends are not cut off
      if (log || range.includes(null)) return range.map((v) => (v !== null && log ? Math.log10(v) : v));
      const more = 0.015 * (range[1] - range[0]);
      return [range[0] - more, range[1] + more];
    };
    const narrow = element.clientWidth < 480 && spec.ticks.some((t) => t[1].length > 4);
    const axis = (range, log, ticks) => ({
      ...(log ? { type: "log", exponentformat: "power" } : {}),
      ...(range ? { range: wide(range, log), autorange: range.includes(null) ? (range[0] === null ? "min" : "max") : false } : {}),
      ...(ticks.length ? { tickmode: "array", tickvals: ticks.map((t) => t[0]), ticktext: ticks.map((t) => plain(t[1])), zeroline: false, ...(narrow ? { tickangle: -40 } : {}) } : {}),
    });
    const xaxis = axis(spec.x_range, spec.log.includes("x"), spec.ticks), yaxis = axis(spec.y_range, spec.log.includes("y"), []);
    const shapes = spec.bands.map(([low, high]) => shade(low, high));
    if (spec.values) {
      const map = {
        type: "heatmap", x: spec.map_x, y: spec.map_y, z: spec.values, colorscale: "Cividis",
        colorbar: { title: { text: plain(spec.map_label), side: "right", font: { size: 13 } }, thickness: 14, outlinewidth: 0 },
        hovertemplate: `%{x:.4~g}, %{y:.4~g}: %{z:.4~g} ${unitOf(spec.map_label)}<extra></extra>`,
      };
      Plotly.react(element, [map], layout(plain(spec.x), plain(spec.y), { xaxis, yaxis, shapes, margin: { l: 60, r: 14, t: 14, b: 48 } }), config);
      return;
    }
    const traces = legendOfCrosses(spec.series.flatMap((series, k) => seriesTraces(series, k, spec)));
    const names = traces.filter((t) => t.showlegend !== false).map((t) => t.name);
    const showlegend = names.length > 1 || Boolean(spec.series[0]?.name);
    show(element, traces, layout(plain(spec.x), plain(spec.y), { shapes, showlegend, xaxis, yaxis }));
  }

  function drawFigures(figures) {
    document.querySelectorAll("[data-figure]").forEach((element) => drawFigure(element, figures[element.dataset.figure]));
  }

  // Plots follow the window, the reader's scheme, and details that are opened; `draw` draws them all.
  function follow(draw) {
    const resized = new ResizeObserver((entries) => entries.forEach(({ target }) => { if (target.clientWidth && target.data) Plotly.Plots.resize(target); }));
    document.querySelectorAll(".plot").forEach((element) => resized.observe(element));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    const print = (on) => { document.documentElement.classList.toggle("paper", on); draw(); }; // dark colours are not for paper
    addEventListener("beforeprint", () => print(true));
    addEventListener("afterprint", () => print(false));
  }

  function offer(button, name, content) {
    button.addEventListener("click", () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }));
      link.download = name;
      link.click();
      URL.revokeObjectURL(link.href);
    });
  }

  return { css, colour, marks, config, layout, show, shade, withErrors, legendOfCrosses, along, drawFigures, follow, offer };
})();
