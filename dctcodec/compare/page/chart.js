// Rate-distortion curves as SVG. The pointer, a finger or the arrow keys go from point to point.

const METRICS = [
  { key: "psnr", title: "PSNR, dB", digits: 2 },
  { key: "ms_ssim", title: "MS-SSIM, dB: −10 log₁₀(1 − MS-SSIM)", digits: 2, scale: (value) => -10 * Math.log10(1 - value) },
  { key: "ssimulacra2", title: "SSIMULACRA2", digits: 1 },
];
const MARGIN = { left: 42, right: 14, top: 10, bottom: 38 };

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Charts of curves, one for each metric that they have, under one legend. `curves`: [{name, points, chosen, style}], where `points` have
// bpp and metrics, `chosen` is a point that is filled, and `style` is "", "dashed" or "dotted".
class Charts {
  constructor(curves) {
    this.curves = curves.map((curve, place) => ({ ...curve, place, on: curve.on ?? true }));
    this.charts = METRICS.filter((metric) => curves.some((curve) => curve.points.some((point) => point[metric.key] != null))).map(
      (metric) => new Chart(metric, this.curves),
    );
    byId("charts").replaceChildren(...this.charts.map((chart) => chart.element));
    byId("legend").replaceChildren(...this.curves.map((curve) => this.entry(curve)));
    byId("curves").hidden = false;
    this.draw();
    Charts.watcher?.disconnect();
    Charts.watcher = new ResizeObserver(() => this.draw());
    Charts.watcher.observe(byId("charts"));
  }

  draw() {
    for (const chart of this.charts) chart.draw();
  }

  entry(curve) {
    const sample = svg("svg", { width: 26, height: 12, "aria-hidden": "true", class: `curve ${curve.style ?? ""}` });
    sample.append(svg("path", { d: "M0 6H26" }), mark(13, 6, curve.place));
    const button = make("button", { type: "button", "aria-pressed": curve.on }, sample, curve.name);
    paintSeries(button, curve.name, curve.place);
    button.addEventListener("click", () => {
      curve.on = !curve.on;
      button.setAttribute("aria-pressed", curve.on);
      this.draw();
    });
    return button;
  }
}

class Chart {
  constructor(metric, curves) {
    this.metric = metric;
    this.curves = curves;
    this.title = make("h3", {}, metric.title);
    this.svg = svg("svg", { tabindex: 0, role: "group", "aria-label": `${metric.title} against bits per pixel. Arrow keys go through the points.` });
    this.tip = make("div", { class: "tip", hidden: "" });
    this.element = make("div", { class: "chart" }, this.title, this.svg, this.tip);
    this.at = null;
    this.svg.addEventListener("pointermove", (event) => this.point(this.nearest(event)));
    this.svg.addEventListener("pointerdown", (event) => this.point(this.nearest(event)));
    this.svg.addEventListener("pointerleave", () => this.point(null));
    this.svg.addEventListener("blur", () => this.point(null));
    this.svg.addEventListener("keydown", (event) => this.key(event));
  }

  // Every point that is shown: its curve, its place in the chart, and its figures.
  points() {
    const value = (point) => (point[this.metric.key] == null ? null : (this.metric.scale ?? Number)(point[this.metric.key]));
    return this.curves
      .filter((curve) => curve.on)
      .flatMap((curve) => curve.points.map((point) => ({ curve, point, x: point.bpp, y: value(point) })))
      .filter(({ y }) => y !== null && Number.isFinite(y));
  }

  draw() {
    const width = Math.max(240, this.element.clientWidth);
    const height = Math.round(Math.min(340, Math.max(230, width * 0.66)));
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.shown = this.points();
    if (!this.shown.length) return this.svg.replaceChildren();
    const across = axis(this.shown.map(({ x }) => x), MARGIN.left, width - MARGIN.right);
    const up = axis(this.shown.map(({ y }) => y), height - MARGIN.bottom, MARGIN.top);
    for (const shown of this.shown) Object.assign(shown, { px: across.place(shown.x), py: up.place(shown.y) });
    this.ring = svg("circle", { class: "ring", r: 8, visibility: "hidden" });
    this.svg.replaceChildren(this.grid(across, up, width, height), ...this.lines(), this.ring);
    this.width = width;
    this.point(null);
  }

  grid(across, up, width, height) {
    const grid = svg("g", { class: "grid" });
    const [bottom, left] = [height - MARGIN.bottom, MARGIN.left];
    for (const tick of up.ticks) {
      const y = up.place(tick);
      grid.append(svg("line", { x1: left, x2: width - MARGIN.right, y1: y, y2: y }), svg("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, up.text(tick)));
    }
    for (const tick of across.ticks) {
      const x = across.place(tick);
      grid.append(svg("line", { x1: x, x2: x, y1: MARGIN.top, y2: bottom }), svg("text", { x, y: bottom + 16, "text-anchor": "middle" }, across.text(tick)));
    }
    grid.append(svg("text", { x: (left + width - MARGIN.right) / 2, y: height - 4, "text-anchor": "middle" }, "bits per pixel"));
    return grid;
  }

  lines() {
    return this.curves.filter((curve) => curve.on).map((curve) => {
      const own = this.shown.filter((shown) => shown.curve === curve);
      const group = svg("g", { class: `curve ${curve.style ?? ""} ${curve.place ? "" : "first"}` });
      paintSeries(group, curve.name, curve.place);
      group.append(svg("path", { d: own.map(({ px, py }, at) => `${at ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`).join("") }));
      for (const shown of own) group.append(mark(shown.px, shown.py, curve.place, shown.point === curve.chosen));
      curve.groups = { ...curve.groups, [this.metric.key]: group };
      return group;
    });
  }

  nearest(event) {
    const box = this.svg.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) * (this.width / box.width), (event.clientY - box.top) * (this.width / box.width)];
    const distance = ({ px, py }) => Math.hypot(px - x, py - y);
    const near = this.shown.reduce((best, shown) => (distance(shown) < distance(best) ? shown : best), this.shown[0]);
    return near && distance(near) < 60 ? near : null;
  }

  key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step || !this.shown.length) return;
    event.preventDefault();
    const at = this.at ? this.shown.indexOf(this.at) + step : 0;
    this.point(this.shown[(at + this.shown.length) % this.shown.length]);
    byId("status").textContent = this.tip.innerText.replace(/\n/g, ", ");
  }

  // Show a point's figures beside it, and its curve before the others; null for none.
  point(shown) {
    this.at = shown;
    this.tip.hidden = !shown;
    this.element.classList.toggle("pointing", Boolean(shown));
    for (const curve of this.curves) curve.groups?.[this.metric.key]?.classList.toggle("pointed", curve === shown?.curve);
    this.ring?.setAttribute("visibility", shown ? "visible" : "hidden");
    if (!shown) return;
    this.ring.setAttribute("cx", shown.px);
    this.ring.setAttribute("cy", shown.py);
    const { curve, point } = shown;
    const lines = [make("strong", {}, curve.name), `${shown.y.toFixed(this.metric.digits)} at ${point.bpp.toFixed(3)} bits per pixel`];
    if (point.bytes) lines.push(make("br"), bytesText(point.bytes));
    if (point.quality != null) lines.push(make("br"), `quality ${round(point.quality)}`);
    this.tip.replaceChildren(...lines);
    this.placeTip(shown);
  }

  placeTip(shown) {
    const scale = this.svg.getBoundingClientRect().width / this.width;
    const top = this.svg.getBoundingClientRect().top - this.element.getBoundingClientRect().top + shown.py * scale;
    const left = Math.min(Math.max(0, shown.px * scale - this.tip.offsetWidth / 2), this.element.clientWidth - this.tip.offsetWidth);
    const above = top - this.tip.offsetHeight - 14;
    this.tip.style.left = `${left}px`;
    this.tip.style.top = `${above > 0 ? above : top + 14}px`;
  }
}

// A circle, square, triangle or diamond, by the place of the curve.
function mark(x, y, place, chosen = false) {
  const attributes = { class: chosen ? "mark chosen" : "mark" };
  const r = chosen ? 5.5 : 4;
  if (place % 4 === 0) return svg("circle", { ...attributes, cx: x, cy: y, r });
  const shapes = [
    `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
    `M${x} ${y - r * 1.2}l${r * 1.2} ${r * 2.1}h${-r * 2.4}z`,
    `M${x} ${y - r * 1.3}l${r * 1.3} ${r * 1.3}l${-r * 1.3} ${r * 1.3}l${-r * 1.3} ${-r * 1.3}z`,
  ];
  return svg("path", { ...attributes, d: shapes[(place % 4) - 1] });
}

// A linear axis from `start` to `end` pixels that holds all values, with about five round ticks.
function axis(values, start, end) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  const [from, to] = [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
  const rough = (to - from) / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const ticks = [];
  for (let tick = Math.ceil(from / step) * step; tick <= to + step * 1e-9; tick += step) ticks.push(tick);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return {
    ticks,
    place: (value) => start + ((value - from) / (to - from)) * (end - start),
    text: (value) => value.toFixed(digits).replace("-", "−"),
  };
}
