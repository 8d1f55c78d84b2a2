// A crystal drawn on a 2D canvas: rotates without WebGL, so it works everywhere and when printed.
window.StructureViewer = (() => {
  "use strict";
  const subtract = (a, b) => a.map((x, k) => x - b[k]);
  const rotate = (m, v) => m.map((row) => row[0] * v[0] + row[1] * v[1] + row[2] * v[2]);
  const multiply = (a, b) => a.map((row) => [0, 1, 2].map((j) => row[0] * b[0][j] + row[1] * b[1][j] + row[2] * b[2][j]));
  const aboutX = (t) => [[1, 0, 0], [0, Math.cos(t), -Math.sin(t)], [0, Math.sin(t), Math.cos(t)]];
  const aboutY = (t) => [[Math.cos(t), 0, Math.sin(t)], [0, 1, 0], [-Math.sin(t), 0, Math.cos(t)]];
  const START = multiply(aboutX(-1.25), [[Math.cos(0.42), -Math.sin(0.42), 0], [Math.sin(0.42), Math.cos(0.42), 0], [0, 0, 1]]);

  function sphere(colour, light) {
    const size = 64, canvas = document.createElement("canvas");
    canvas.width = canvas.height = size;
    const context = canvas.getContext("2d"), half = size / 2;
    context.beginPath();
    context.arc(half, half, half - 1, 0, 2 * Math.PI);
    context.fillStyle = colour;
    context.fill();
    const shade = context.createRadialGradient(half * 0.7, half * 0.6, half * 0.05, half, half, half);
    shade.addColorStop(0, `rgba(255,255,255,${light ? 0.55 : 0.25})`);
    shade.addColorStop(0.5, "rgba(255,255,255,0)");
    shade.addColorStop(1, "rgba(0,0,0,0.38)");
    context.fillStyle = shade;
    context.fill();
    return canvas;
  }

  function corners(cell) {
    const result = [];
    for (let n = 0; n < 8; n++) {
      result.push([0, 1, 2].map((k) => cell.reduce((sum, row, axis) => sum + ((n >> axis) & 1) * row[k], 0)));
    }
    return result;
  }
  const EDGES = [];
  for (let n = 0; n < 8; n++) for (let k = 0; k < 3; k++) if (!((n >> k) & 1)) EDGES.push([n, n | (1 << k)]);

  class Viewer {
    // atoms: [{position, species, spectator}]; styles: species -> {colour, radius (Å)}
    constructor(canvas, cell) {
      this.canvas = canvas;
      this.setCell(cell);
      this.extent = Math.max(...this.box.map((c) => Math.hypot(...subtract(c, this.centre)))); // of the first cell: one that grows is seen to
      this.view = START;
      this.zoom = 1;
      this.atoms = [];
      this.styles = {};
      this.hidden = new Set();
      this.sprites = new Map();
      this.listen();
    }

    setCell(cell) {
      this.box = corners(cell);
      this.centre = this.box[7].map((x) => x / 2);
    }

    show(atoms, styles, ink) {
      this.atoms = atoms;
      this.ink = ink;
      this.styles = {};
      for (const [name, style] of Object.entries(styles)) {
        this.styles[name] = { radius: style.radius, sprite: this.sprite(style.colour, !style.spectator) };
      }
      this.draw();
    }

    sprite(colour, light) {
      const key = `${colour} ${light}`;
      if (!this.sprites.has(key)) this.sprites.set(key, sphere(colour, light));
      return this.sprites.get(key);
    }

    draw() {
      const { canvas } = this, ratio = window.devicePixelRatio || 1;
      const width = canvas.clientWidth, height = canvas.clientHeight;
      if (!width || !height) return;
      canvas.width = width * ratio;
      canvas.height = height * ratio;
      const context = canvas.getContext("2d");
      context.scale(ratio, ratio);
      const scale = (this.zoom * 0.51 * Math.min(width, height)) / this.extent;
      const project = (p) => {
        const [x, y, z] = rotate(this.view, subtract(p, this.centre));
        const depth = 1 / (1 - (0.22 * z) / this.extent);
        return [width / 2 + x * scale * depth, height / 2 - y * scale * depth, z, scale * depth];
      };
      const box = this.box.map(project);
      const back = box.reduce((best, p, k) => (p[2] < box[best][2] ? k : best), 0);
      const line = ([a, b], alpha) => {
        context.globalAlpha = alpha;
        context.beginPath();
        context.moveTo(box[a][0], box[a][1]);
        context.lineTo(box[b][0], box[b][1]);
        context.stroke();
      };
      context.strokeStyle = this.ink;
      context.lineWidth = 1.2;
      const behind = EDGES.filter((edge) => edge.includes(back));
      behind.forEach((edge) => line(edge, 0.35));
      const drawn = this.atoms.filter((atom) => !this.hidden.has(atom.species)).map((atom) => ({ at: project(atom.position), atom }));
      drawn.sort((a, b) => a.at[2] - b.at[2]);
      for (const { at, atom } of drawn) {
        const style = this.styles[atom.species], r = style.radius * at[3];
        context.globalAlpha = atom.spectator ? 0.75 : 1;
        context.drawImage(style.sprite, at[0] - r, at[1] - r, 2 * r, 2 * r);
      }
      EDGES.filter((edge) => !edge.includes(back)).forEach((edge) => line(edge, 0.6));
      context.globalAlpha = 1;
    }

    turn(dx, dy) {
      this.view = multiply(multiply(aboutX(dy), aboutY(dx)), this.view);
      this.draw();
    }
    magnify(factor) {
      this.zoom = Math.min(8, Math.max(0.4, this.zoom * factor));
      this.draw();
    }
    reset() {
      this.view = START;
      this.zoom = 1;
      this.draw();
    }

    listen() {
      const { canvas } = this;
      let last = null;
      canvas.addEventListener("pointerdown", (event) => {
        last = [event.clientX, event.clientY];
        canvas.setPointerCapture(event.pointerId);
      });
      canvas.addEventListener("pointermove", (event) => {
        if (!last) return;
        this.turn((event.clientX - last[0]) * 0.01, (event.clientY - last[1]) * 0.01);
        last = [event.clientX, event.clientY];
      });
      for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { last = null; });
      canvas.addEventListener("keydown", (event) => {
        const turns = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] };
        if (event.key in turns) this.turn(...turns[event.key]);
        else if (event.key === "+" || event.key === "=") this.magnify(1.2);
        else if (event.key === "-") this.magnify(1 / 1.2);
        else if (event.key === "0" || event.key === "Home") this.reset();
        else return;
        event.preventDefault();
      });
      new ResizeObserver(() => this.draw()).observe(canvas);
    }
  }
  return Viewer;
})();
