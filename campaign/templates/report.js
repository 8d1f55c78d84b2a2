// Draws the plots from the data embedded in the page, in the colours of the reader's scheme.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const points = data.results.points;
  const layoutOf = data.results.layout;
  const byId = (id) => document.getElementById(id);
  const { colour, config, layout, show, shade, withErrors, legendOfCrosses, along, marks } = window.ReportPlots;

  // Where an ordering temperature lies, or where the two ways of a scan differ.
  function bands() {
    const transition = data.results.transition;
    const known = transition && transition.bracket.lower !== null && transition.bracket.upper !== null;
    if (known) return [shade(transition.bracket.lower, transition.bracket.upper)];
    const loops = data.results.hysteresis;
    return loops.filter((loop) => loop.quantity === loops[0].quantity && loop.differs.some(Boolean))
      .map((loop) => shade(loop.lower ?? loop.values[0], loop.upper ?? loop.values.at(-1)));
  }

  // Points that are joined by a line: one curve, one way.
  function lines() {
    const found = new Map();
    points.forEach((p, i) => {
      const key = `${p.curve} ${p.direction}`;
      if (!found.has(key)) found.set(key, { curve: p.curve, back: p.direction === layoutOf.directions[1] && layoutOf.returns, name: [layoutOf.curves[p.curve], p.direction].filter(Boolean).join(", "), of: [] });
      found.get(key).of.push(i);
    });
    return [...found.values()];
  }

  function sweep(id, y, series, extra) {
    if (!byId(id)) return;
    const single = layoutOf.curves.length === 1;
    const traces = lines().flatMap((line) => series.flatMap(([name, numbers, unit], k) => {
      const label = [series.length > 1 || !line.name ? name : "", line.name].filter(Boolean).join(", ");
      const xs = line.of.map((i) => points[i].value);
      return withErrors(xs, line.of.map((i) => numbers[i]), label, single ? k : line.curve, unit, { symbol: k, back: line.back });
    }));
    const several = traces.length > 1;
    show(byId(id), legendOfCrosses([...traces, ...(extra?.traces ?? [])]), layout(layoutOf.title, y, { shapes: bands(), showlegend: several, ...extra?.layout }));
  }

  // The slope of the free energy is drawn against the composition: where it falls, phases part.
  function drawSlope() {
    if (!byId("plot-slope")) return;
    const pairs = [];
    for (const p of points) for (const [site, row] of Object.entries(p.free_energy_slopes)) for (const s of Object.keys(row)) {
      if (!pairs.some((pair) => pair[0] === site && pair[1] === s)) pairs.push([site, s]);
    }
    const traces = lines().flatMap((line) => pairs.flatMap(([site, s], k) => {
      const shares = line.of.map((i) => points[i].composition[site][s]);
      const order = shares.map((_, i) => i).sort((a, b) => shares[a].mean - shares[b].mean);
      const slopes = order.map((i) => points[line.of[i]].free_energy_slopes[site][s]);
      const label = [pairs.length > 1 ? `${s} on ${site}` : "", line.name].filter(Boolean).join(", ") || "∂f/∂c";
      const colourOf = layoutOf.curves.length === 1 ? k : line.curve;
      return withErrors(order.map((i) => shares[i].mean), slopes, label, colourOf, "eV", { symbol: k, back: line.back, xErrors: order.map((i) => shares[i].error ?? 0) });
    }));
    const x = pairs.length === 1 ? `Fraction of ${pairs[0][1]} on ${pairs[0][0]}` : "Fraction";
    show(byId("plot-slope"), legendOfCrosses(traces), layout(x, "∂f/∂c (eV per site)", { showlegend: traces.length > 1, xaxis: { range: [-0.02, 1.02] } }));
  }

  function drawSweeps() {
    const orders = Object.keys(points[0].orders);
    const xs = points.map((p) => p.value);
    const known = orders.filter((name) => points.every((p) => p.orders[name].random !== null));
    const random = known.map((name) => [name, orders.indexOf(name)]).map(([name, k]) => ({
      x: xs, y: points.map((p) => p.orders[name].random), mode: "lines", type: "scatter", line: { color: colour(k), width: 1.2, dash: "dot" },
      showlegend: false, hovertemplate: `${name}, random arrangement: %{y:.3~g}<extra></extra>`,
    }));
    sweep("plot-order", "⟨|ψ|²⟩", orders.map((name) => [name, points.map((p) => p.orders[name]), ""]), { traces: random, layout: { yaxis: { rangemode: "tozero" } } });
    const shares = Object.keys(points[0].fractions);
    shares.forEach((name, k) => {
      const title = name[0].toUpperCase() + name.slice(1);
      sweep(`plot-composition${k ? `-${k}` : ""}`, title, [[name, points.map((p) => p.fractions[name]), ""]], { layout: { yaxis: { range: [-0.03, 1.03] } } });
    });
    drawSlope();
    sweep("plot-energy", "Energy (meV per site)", [["energy", data.relative_energy, "meV"]]);
    if (byId("plot-capacity")) sweep("plot-capacity", "Heat capacity (k<sub>B</sub> per site)", [["heat capacity", points.map((p) => p.heat_capacity), "k<sub>B</sub>"]], { layout: { yaxis: { rangemode: "tozero" } } });
    if (points.every((p) => p.acceptance)) {
      sweep("plot-acceptance", "Accepted fraction", [["acceptance", points.map((p) => ({ ...p.acceptance, converged: true, why: undefined })), ""]], { layout: { yaxis: { rangemode: "tozero" } } });
    }
  }

  function drawShells() {
    const select = byId("shell-pair");
    if (!select) return;
    const many = Math.max(points.length - 1, 1);
    const traces = points.flatMap((p, i) => {
      const rows = p.warren_cowley.filter((row) => row.pair === select.value);
      const [style, crosses] = withErrors(rows.map((row) => row.distance), rows, p.written, 0, "");
      style.line.color = style.marker.color = along(1 - i / many);
      style.marker.symbol = marks[i % 6];
      style.customdata.forEach((d, n) => d.push(rows[n].shell));
      style.hovertemplate = `${p.written}, shell %{customdata[4]}, %{x:.3f} Å<br>α = %{y:.4~g} ± %{customdata[0]}<br>R-hat %{customdata[1]}, ESS %{customdata[2]}%{customdata[3]}<extra></extra>`;
      return crosses ? [style, crosses] : [style];
    });
    const wide = byId("plot-shells").clientWidth > 640;
    const legend = wide ? { orientation: "v", x: 1.02, y: 1, xanchor: "left", yanchor: "top", tracegroupgap: 0 } : { orientation: "h", x: 0, y: -0.25, xanchor: "left", yanchor: "top", tracegroupgap: 0 };
    Plotly.react(byId("plot-shells"), legendOfCrosses(traces), layout("Distance (Å)", "Warren–Cowley α", { legend, showlegend: true, margin: { l: 60, r: 14, t: 16, b: 48 }, yaxis: { zeroline: true, zerolinewidth: 1.5 } }), config);
  }

  function drawTraces() {
    const point = data.traces[byId("trace-temperature").value];
    const name = byId("trace-quantity").value;
    const lines = point.series[name].map((values, chain) => ({
      x: values.map((_, i) => i * point.stride), y: values, name: `chain ${chain + 1}`, mode: "lines", type: "scatter", line: { color: colour(chain), width: 1.3 },
      hovertemplate: `chain ${chain + 1}, draw %{x}: %{y:.5~g}<extra></extra>`,
    }));
    const share = name.startsWith("fraction of ");
    const label = name === "energy" ? "Energy (meV per site)" : share ? name[0].toUpperCase() + name.slice(1) : `|ψ|², ${name}`;
    show(byId("plot-traces"), lines, layout("Draw", label, { showlegend: lines.length > 1 && lines.length <= 12 }));
  }

  function fill(select, labels, chosen) {
    labels.forEach(([value, text]) => select.add(new Option(text, value, false, value === chosen)));
  }

  function connect() {
    const temperatures = points.map((p, i) => [i, p.written + (p.converged ? "" : " (not converged)")]);
    fill(byId("trace-temperature"), temperatures, 0);
    fill(byId("trace-quantity"), Object.keys(data.traces[0].series).map((name) => [name, name]), "energy");
    for (const id of ["trace-temperature", "trace-quantity"]) byId(id).addEventListener("change", drawTraces);
    if (byId("shell-pair")) byId("shell-pair").addEventListener("change", drawShells);
    window.ReportPlots.offer(byId("download"), "alchemc-results.json", data.results);
  }

  let drawStructure = null;
  function drawAll() {
    drawSweeps();
    drawShells();
    drawTraces();
    drawStructure = drawStructure ?? window.showStructures(data);
    drawStructure();
    window.ReportPlots.drawFigures(data.figures);
  }
  connect();
  drawAll();
  window.ReportPlots.follow(drawAll);
})();
