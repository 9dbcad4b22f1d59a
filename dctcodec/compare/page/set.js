// A set of images: rates against the other codecs, mean curves, and the images with the worst first.

const RATE_METRICS = [["psnr", "by PSNR"], ["ms_ssim", "by MS-SSIM"], ["ssimulacra2", "by SSIMULACRA2"]];

function percent(value) {
  return value == null ? "–" : `${signed(value, 1)} %`;
}

function showSet(set) {
  byId("kind").textContent = "bench";
  byId("title").textContent = set.title;
  byId("lead").textContent = set.lead;
  byId("set-lead").textContent = set.rates_note;
  const metrics = RATE_METRICS.filter(([key]) => set.rates.some((rate) => rate[key] != null));
  const head = make("tr", {}, make("th", { scope: "col", class: "text" }, "Against"));
  head.append(...metrics.map(([, title]) => make("th", { scope: "col" }, title)));
  const rows = set.rates.map((rate) => {
    const row = make("tr", {}, make("th", { scope: "row" }, rate.name, make("small", {}, rate.settings)));
    row.append(...metrics.map(([key]) => make("td", { class: rate[key] < 0 ? "best" : "" }, percent(rate[key]))));
    return row;
  });
  byId("rates").replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
  byId("set").hidden = !set.rates.length;
  new Charts(set.curves);
  byId("curves-note").textContent = set.curves_note;
  showImages(set);
  document.documentElement.dataset.shown = set.title;
}

function showImages(set) {
  byId("images-lead").textContent = set.images_note;
  byId("images").hidden = false;
  let order = [set.sorted_by, -1];
  const draw = () => {
    const [by, direction] = order;
    const value = (image) => (by === "name" ? image.name : (image.figures[by] ?? -Infinity));
    const images = [...set.images].sort((a, b) => direction * (value(a) > value(b) ? 1 : value(a) < value(b) ? -1 : 0));
    byId("image-list").replaceChildren(imagesHead(set, order, (key) => {
      order = [key, key === by ? -direction : key === "name" ? 1 : -1];
      draw();
    }), make("tbody", {}, ...images.map((image) => imageRow(set, image))));
  };
  draw();
}

function imagesHead(set, [by, direction], sort) {
  const cell = (key, title, attributes) => {
    const button = make("button", { type: "button" }, title);
    button.addEventListener("click", () => {
      sort(key);
      byId("image-list").querySelector(`[data-key="${CSS.escape(key)}"] button`).focus();
    });
    const sorted = key === by ? { "aria-sort": direction < 0 ? "descending" : "ascending" } : {};
    return make("th", { scope: "col", "data-key": key, ...attributes, ...sorted }, button);
  };
  return make("thead", {}, make("tr", {}, cell("name", "Image", { class: "text" }), ...set.columns.map(({ key, title }) => cell(key, title, {}))));
}

function imageRow(set, image) {
  const name = image.link ? make("a", { href: image.link }, image.name) : image.name;
  const row = make("tr", {}, make("th", { scope: "row" }, name));
  row.append(...set.columns.map(({ key, digits, percent: rate }) => make("td", {}, rate ? percent(image.figures[key]) : fixed(image.figures[key], digits))));
  return row;
}
