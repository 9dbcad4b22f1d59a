// The viewer: which two versions of an image are on the stage, and as what: the image itself, its error, or figures of its tiles.

class Viewer {
  constructor() {
    this.stage = new Stage(byId("stage"), () => this.changed(), (pixel) => this.read(pixel));
    this.layer = "image";
    this.sides = ["left", "right"].map((name) => ({ select: byId(name), figures: byId(`${name}-figures`) }));
    this.chosen = [0, 1];
    this.listeners = [];
    this.pictures = [];
    this.sides.forEach(({ select }, side) => select.addEventListener("change", () => this.choose(side, Number(select.value))));
    byId("gain").addEventListener("change", () => this.draw());
    byId("zoom-in").addEventListener("click", () => this.stage.zoomStep(1));
    byId("zoom-out").addEventListener("click", () => this.stage.zoomStep(-1));
    byId("zoom-fit").addEventListener("click", () => this.stage.zoomTo(null));
    byId("zoom-one").addEventListener("click", () => this.stage.zoomTo(1));
    byId("zoom-most").addEventListener("click", () => this.stage.zoomTo(MOST_ZOOM));
    document.addEventListener("keydown", (event) => this.key(event));
    drawScale(byId("scale").querySelector("canvas"));
  }

  // Show an image of the report. `chosen`: the versions on the left and on the right.
  async show(image, chosen = [0, 1]) {
    const pictures = await Promise.all(image.versions.map((version) => load(version.url)));
    if (this.image && this.image.region.join() !== image.region.join()) this.stage.zoom = null;
    this.image = image;
    this.pictures = pictures;
    this.chosen = chosen.map((version) => Math.min(version, pictures.length - 1));
    for (const { select } of this.sides) {
      select.replaceChildren(...image.versions.map((version, place) => new Option(`${place + 1}  ${version.name}`, place)));
    }
    byId("comparison").hidden = false;
    this.stage.element.style.setProperty("--aspect", image.region[2] / image.region[3]);
    this.showLayers();
    this.draw();
    this.stage.draw();
  }

  // Call `listener` whenever other versions are chosen.
  onChoice(listener) {
    this.listeners.push(listener);
  }

  choose(side, version) {
    if (version >= this.pictures.length) return;
    this.chosen[side] = version;
    this.draw();
  }

  flip() {
    this.chosen.reverse();
    this.draw();
  }

  get maps() {
    const names = this.image.versions.flatMap((version) => version.maps.map((map) => map.name));
    return [...new Set(names)];
  }

  showLayers() {
    const layers = [["image", "Image"], ["error", "Error"], ...this.maps.map((name) => [name, name])];
    if (!layers.some(([layer]) => layer === this.layer)) this.layer = "image";
    const buttons = layers.map(([layer, text]) => {
      const button = make("button", { type: "button", "data-layer": layer }, text);
      button.addEventListener("click", () => this.chooseLayer(layer));
      return button;
    });
    byId("layers").replaceChildren(...buttons);
  }

  chooseLayer(layer) {
    this.layer = layer;
    if (this.maps.includes(layer) && !this.chosen.some((version) => this.mapOf(version))) {
      this.chosen[1] = this.image.versions.findIndex((version) => version.maps.some((map) => map.name === layer));
    }
    this.draw();
  }

  mapOf(version) {
    return this.image.versions[version].maps.find((map) => map.name === this.layer);
  }

  // What is drawn of a version in this layer.
  drawn(version) {
    const picture = this.pictures[version];
    const gain = Number(byId("gain").value);
    const key = `${this.layer} ${gain}`;
    if (picture.key !== key) {
      picture.key = key;
      picture.map = this.mapOf(version)
        ? tileMap(picture.canvas, this.mapOf(version), this.image.region)
        : this.layer === "error"
          ? errorMap(this.pictures[0].canvas, picture.canvas, gain)
          : picture.canvas;
    }
    return picture.map;
  }

  draw() {
    this.stage.show(...this.chosen.map((version) => this.drawn(version)));
    this.sides.forEach(({ select, figures }, side) => {
      select.value = this.chosen[side];
      figures.textContent = shortFigures(this.image.versions[this.chosen[side]]);
    });
    for (const button of byId("layers").children) button.setAttribute("aria-pressed", button.dataset.layer === this.layer);
    const map = this.chosen.map((version) => this.mapOf(version)).find(Boolean);
    const error = this.layer === "error";
    byId("gain-label").hidden = !error;
    byId("scale").hidden = !error && !map;
    if (error) byId("scale-end").textContent = `${Math.round(255 / Number(byId("gain").value))} levels`;
    if (map) byId("scale-end").textContent = `${Math.round(mostOf(map))} ${map.unit}`;
    const names = this.chosen.map((version) => this.image.versions[version].name);
    byId("canvas").setAttribute("aria-label", `${this.image.name}, ${this.layer}. Left: ${names[0]}. Right: ${names[1]}.`);
    for (const listener of this.listeners) listener(this.chosen);
  }

  changed() {
    const percent = Math.round(this.stage.scale * 100);
    byId("zoom-level").textContent = `${percent} %`;
    const names = this.image ? this.chosen.map((version) => this.image.versions[version].name) : [];
    this.stage.divider.setAttribute("aria-valuetext", `${Math.round(this.stage.split * 100)} % ${names[0] ?? ""}`);
  }

  // Say the figures of the pixel or the tile under the pointer, in the layers that have any.
  read(pixel) {
    const text = pixel && this.image && this.reading(pixel.map(Math.floor));
    byId("reading").hidden = !text;
    byId("reading").textContent = text || "";
  }

  reading([x, y]) {
    const [left, top, width, height] = this.image.region;
    if (x < 0 || y < 0 || x >= width || y >= height) return null;
    const side = this.stage.split * this.stage.size[0] > this.stage.corner[0] + x * this.stage.scale ? 0 : 1;
    const version = this.chosen[side];
    const map = this.mapOf(version);
    if (map) return tileReading(map, x + left, y + top);
    if (this.layer !== "error") return null;
    const [first, second] = [0, version].map((place) => this.pictures[place].canvas.getContext("2d").getImageData(x, y, 1, 1).data);
    return `pixel ${x + left}, ${y + top}: error ${errorAt(first, second, 0).toFixed(1)} levels`;
  }

  key(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !this.image) return;
    const field = event.target.closest?.("select, input, textarea, summary, .chart");
    if (field) return;
    if (event.key === " " && event.target.closest?.("button, a")) return;
    if (this.act(event)) event.preventDefault();
  }

  // Whether a key has a meaning here; what it means is done.
  act(event) {
    const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code)?.[1];
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (digit) this.choose(event.shiftKey ? 0 : 1, digit - 1);
    else if (event.key === " ") this.flip();
    else if (event.shiftKey && (dx || dy)) this.stage.pan(-64 * dx, -64 * dy);
    else if (dx) this.stage.moveDivider(this.stage.split + dx * 0.02);
    else if (event.key === "+" || event.key === "=") this.stage.zoomStep(1);
    else if (event.key === "-") this.stage.zoomStep(-1);
    else if (event.key === "0") this.stage.zoomTo(null);
    else return false;
    return true;
  }
}

async function load(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return { canvas: canvasOf(image), key: null, map: null };
}

function shortFigures(version) {
  const figures = version.figures;
  if (!figures) return "lossless";
  return `${bytesText(figures.bytes)} · ${decibels(figures.psnr)} dB`;
}
