// Any stored structure in the page: a point, a chain and a draw are chosen, or the draws are played.
window.showStructures = (data) => {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const canvas = byId("structure");
  if (!canvas) return () => {};
  const { css } = window.ReportPlots;
  const crystal = data.structure, points = data.results.points;
  const [pointMenu, chainMenu, slider, play, told] = ["point", "chain", "draw", "play", "told"].map((name) => byId(`structure-${name}`));
  const viewer = new window.StructureViewer(canvas, crystal.cell);
  const decoded = new Map();

  function bytes(text) {
    if (!decoded.has(text)) decoded.set(text, Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));
    return decoded.get(text);
  }

  // Species of every site in one stored draw.
  function speciesOf(point, chain, frame) {
    const { bits, tables, table_of_site: tableOf } = crystal;
    const size = Math.ceil((tableOf.length * bits) / 8), start = (chain * point.draws.length + frame) * size;
    const all = bytes(point.occupations);
    return tableOf.map((table, site) => {
      let value = 0;
      for (let b = 0; b < bits; b++) {
        const k = site * bits + b;
        value |= ((all[start + (k >> 3)] >> (k & 7)) & 1) << b;
      }
      return tables[table][value];
    });
  }

  // Scaled positions and cell of one stored draw; the reference's where positions stand still.
  function geometryOf(point, chain, frame) {
    if (!point.moved) return [crystal.fractional, crystal.cell];
    const n = crystal.fractional.length, k = chain * point.draws.length + frame;
    const steps = new DataView(bytes(point.moved).buffer, 6 * n * k);
    const scaled = crystal.fractional.map((f, i) => f.map((x, a) => x + steps.getInt16(6 * i + 2 * a, true) / crystal.steps));
    const c = point.cells?.[k];
    return [scaled, c ? [c.slice(0, 3), c.slice(3, 6), c.slice(6)] : crystal.cell];
  }

  function atomsOf(species, scaled, cell) {
    const held = new Map(crystal.sites.map((atom, site) => [atom, species[site]]));
    crystal.spectators.forEach((atom, k) => held.set(atom, `${crystal.symbols[k]} `)); // the blank tells them apart
    return crystal.images.map(([atom, ...shift]) => {
      const f = scaled[atom].map((x, a) => x + shift[a]);
      const name = held.get(atom);
      return { position: [0, 1, 2].map((k) => f[0] * cell[0][k] + f[1] * cell[1][k] + f[2] * cell[2][k]), species: name, spectator: name.endsWith(" ") };
    }).filter((atom) => atom.species !== "X");
  }

  function styles() {
    const found = {};
    crystal.species.forEach((name, k) => { found[name] = { colour: css(`--s${k % 5}`), radius: 0.72 }; });
    crystal.spectator_species.forEach((name, k) => { found[`${name} `] = { colour: css(`--p${k % 4}`), radius: name === "O" || name === "F" ? 0.27 : 0.42, spectator: true }; });
    return found;
  }

  // What the slider runs over: draws of one point, or of all points in the order of the visits.
  function frames() {
    const chosen = pointMenu.value === "all" ? crystal.order : [Number(pointMenu.value)];
    return chosen.flatMap((p) => crystal.points[p].draws.map((_, frame) => [p, frame]));
  }

  function draw() {
    const [p, frame] = frames()[Number(slider.value)];
    const point = crystal.points[p], chain = Math.min(Number(chainMenu.value), point.energies.length - 1);
    const species = speciesOf(point, chain, frame);
    const [scaled, cell] = geometryOf(point, chain, frame);
    viewer.setCell(cell);
    viewer.show(atomsOf(species, scaled, cell), styles(), css("--ink"));
    document.querySelectorAll("[data-swatch]").forEach((element) => { element.style.background = styles()[element.dataset.swatch].colour; });
    const energy = point.energies[chain][frame]?.toFixed(4).replace("-", "−") ?? "unknown";
    const text = `${points[p].written}, chain ${chain + 1}, draw ${(point.draws[frame] + 1).toLocaleString("en")} of ${points[p].n_draws.toLocaleString("en")}: ${energy} eV per site`;
    told.textContent = text;
    slider.setAttribute("aria-valuetext", text);
  }

  function choose() {
    stop();
    slider.max = String(frames().length - 1);
    slider.value = pointMenu.value === "all" ? "0" : slider.max;
    draw();
  }

  // Playing is asked for, never begun by itself; not offered to readers who want less motion.
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let timer = null;
  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶ Play";
    told.setAttribute("aria-live", "polite");
  }
  function step() {
    if (Number(slider.value) >= Number(slider.max) || still.matches) return stop();
    slider.value = String(Number(slider.value) + 1);
    return draw();
  }
  function toggle() {
    if (timer !== null || still.matches) return stop();
    if (slider.value === slider.max) slider.value = "0";
    play.textContent = "❚❚ Pause";
    told.setAttribute("aria-live", "off");
    timer = setInterval(step, 110);
    return draw();
  }

  const option = (select, value, text) => select.add(new Option(text, value));
  points.forEach((p, k) => option(pointMenu, String(k), p.written + (p.converged ? "" : " (not converged)")));
  if (points.length > 1) option(pointMenu, "all", "all, in the order of the visits");
  const chains = Math.max(...crystal.points.map((point) => point.energies.length));
  for (let k = 0; k < chains; k++) option(chainMenu, String(k), String(k + 1));
  for (const menu of [pointMenu, chainMenu]) menu.addEventListener("change", choose);
  slider.addEventListener("input", () => { stop(); draw(); });
  play.addEventListener("click", toggle);
  document.querySelectorAll("[data-species]").forEach((box) => box.addEventListener("change", () => {
    viewer.hidden[box.checked ? "delete" : "add"](box.dataset.species);
    viewer.draw();
  }));
  byId("zoom-in").addEventListener("click", () => viewer.magnify(1.25));
  byId("zoom-out").addEventListener("click", () => viewer.magnify(0.8));
  byId("reset-view").addEventListener("click", () => viewer.reset());
  choose();
  return draw;
};
