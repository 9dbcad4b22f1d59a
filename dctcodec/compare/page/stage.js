// The stage: two pictures of one size, left and right of a divider, on one canvas, so that they are always zoomed alike.

const MOST_ZOOM = 8;
const ZOOMS = [0.125, 0.25, 0.5, 1, 2, 3, 4, 6, MOST_ZOOM];

class Stage {
  // `changed` is called after every change of zoom or divider; `pointed` with pixels of the picture under the pointer, or null.
  constructor(element, changed, pointed) {
    this.element = element;
    this.canvas = element.querySelector("canvas");
    this.divider = element.querySelector(".divider");
    this.changed = changed;
    this.pointed = pointed;
    this.pictures = [null, null];
    this.split = 0.5;
    this.zoom = null; // null: as large as fits
    this.centre = [0.5, 0.5]; // of the picture, in shares of its sides, at the middle of the stage
    this.pointers = new Map();
    new ResizeObserver(() => this.draw()).observe(element);
    this.listen();
  }

  show(left, right) {
    this.pictures = [left, right];
    this.draw();
  }

  get size() {
    return [this.element.clientWidth, this.element.clientHeight];
  }

  get picture() {
    return this.pictures[0] ?? { width: 1, height: 1 };
  }

  // CSS pixels a pixel of the picture.
  get scale() {
    return this.zoom ?? this.fit;
  }

  get fit() {
    const [width, height] = this.size;
    return Math.min(width / this.picture.width, height / this.picture.height, MOST_ZOOM);
  }

  // Whether a part of the picture lies outside the stage.
  get zoomed() {
    return this.zoom !== null && this.zoom > this.fit + 1e-9;
  }

  // Left and top of the picture on the stage, in CSS pixels.
  get corner() {
    return this.size.map((side, axis) => {
      const length = this.lengths[axis] * this.scale;
      if (length <= side) return (side - length) / 2;
      return Math.min(0, Math.max(side - length, side / 2 - this.centre[axis] * length));
    });
  }

  get lengths() {
    return [this.picture.width, this.picture.height];
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = this.size.map((side) => Math.round(side * ratio));
    if (!width || !height) return;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    const edge = Math.round(this.split * width);
    const [x, y] = this.corner.map((side) => Math.round(side * ratio));
    const [w, h] = this.lengths.map((length) => Math.round(length * this.scale * ratio));
    context.imageSmoothingEnabled = !this.sharp;
    context.imageSmoothingQuality = "high";
    this.pictures.forEach((picture, place) => {
      if (!picture) return;
      context.save();
      context.beginPath();
      context.rect(place ? edge : 0, 0, place ? width - edge : edge, height);
      context.clip();
      context.drawImage(picture, x, y, w, h);
      context.restore();
    });
    this.divider.style.left = `${this.split * 100}%`;
    this.divider.setAttribute("aria-valuenow", Math.round(this.split * 100));
    this.element.classList.toggle("zoomed", this.zoomed);
    this.changed();
  }

  // Whether pixels are drawn as squares: from 200 % up, and where every pixel gets equally many.
  get sharp() {
    return this.scale >= 2 || Number.isInteger(this.scale);
  }

  moveDivider(split) {
    this.split = Math.min(1, Math.max(0, split));
    this.draw();
  }

  // Zoom to `zoom`, or to fit for null, with the pixel under a point of the stage kept there.
  zoomTo(zoom, point = this.size.map((side) => side / 2)) {
    const held = this.atPoint(point);
    this.zoom = zoom === null ? null : Math.min(MOST_ZOOM, Math.max(Math.min(this.fit, 1), zoom));
    this.hold(held, point);
    this.draw();
  }

  // The next zoom of ZOOMS up (1) or down (-1).
  zoomStep(direction, point) {
    const steps = direction > 0 ? ZOOMS : ZOOMS.slice().reverse();
    const next = steps.find((zoom) => (zoom - this.scale) * direction > 1e-6);
    if (next === undefined) return;
    this.zoomTo(direction < 0 && next <= this.fit ? null : next, point);
  }

  pan(dx, dy) {
    const corner = this.corner;
    this.centre = [dx, dy].map((by, axis) => (this.size[axis] / 2 - corner[axis] - by) / (this.lengths[axis] * this.scale));
    this.centre = this.centre.map((share) => Math.min(1, Math.max(0, share)));
    this.draw();
  }

  // Pixels of the picture at a point of the stage.
  atPoint(point) {
    return this.corner.map((corner, axis) => (point[axis] - corner) / this.scale);
  }

  hold(pixel, point) {
    this.centre = pixel.map((at, axis) => (at + (this.size[axis] / 2 - point[axis]) / this.scale) / this.lengths[axis]);
  }

  listen() {
    const stage = this.element;
    stage.addEventListener("pointerdown", (event) => this.down(event));
    stage.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, (event) => this.up(event));
    stage.addEventListener("pointerleave", () => this.pointed(null));
    stage.addEventListener("dblclick", (event) => {
      if (event.target === this.canvas) this.zoomTo(this.scale >= 4 ? null : 4, this.point(event));
    });
    stage.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        const zoom = this.scale * Math.exp(-event.deltaY / 200);
        this.zoomTo(zoom < this.fit ? null : zoom, this.point(event));
      },
      { passive: false },
    );
  }

  point(event) {
    const box = this.element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  down(event) {
    if (event.button || event.target.closest(".side")) return;
    const onDivider = this.divider.contains(event.target);
    this.pointers.set(event.pointerId, this.point(event));
    this.element.setPointerCapture(event.pointerId);
    this.drag = onDivider || !this.zoomed ? "divider" : "picture";
    this.element.classList.add("dragging");
    if (this.drag === "divider" && event.pointerType === "mouse") this.moveDivider(this.point(event)[0] / this.size[0]);
    if (onDivider) event.preventDefault();
  }

  move(event) {
    const point = this.point(event);
    const before = this.pointers.get(event.pointerId);
    this.pointed(this.atPoint(point));
    if (!before) return;
    if (this.pointers.size === 2) {
      this.pinch(event.pointerId, point);
    } else if (this.drag === "divider") {
      this.moveDivider(point[0] / this.size[0]);
    } else {
      this.pan(point[0] - before[0], point[1] - before[1]);
    }
    this.pointers.set(event.pointerId, point);
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    if (!this.pointers.size) this.element.classList.remove("dragging");
    else this.drag = "picture";
  }

  // Two fingers: zoom by their distance about the point between them, and pan with it.
  pinch(moved, point) {
    const other = [...this.pointers.entries()].find(([id]) => id !== moved)[1];
    const before = this.pointers.get(moved);
    const distance = (from) => Math.max(10, Math.hypot(from[0] - other[0], from[1] - other[1]));
    const middle = (from) => from.map((at, axis) => (at + other[axis]) / 2);
    const held = this.atPoint(middle(before));
    const zoom = (this.scale * distance(point)) / distance(before);
    this.zoom = zoom <= this.fit ? null : Math.min(MOST_ZOOM, zoom);
    this.hold(held, middle(point));
    this.draw();
  }
}
