// Figures as text, and the table of an image's versions.

function byId(id) {
  return document.getElementById(id);
}

// An element with attributes and children. Texts are put in as texts, never as markup.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function fixed(value, digits) {
  return value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−");
}

function decibels(psnr) {
  return psnr === null ? "∞" : psnr.toFixed(2);
}

function bytesText(bytes) {
  return `${bytes.toLocaleString("en")} bytes`;
}

function seconds(value) {
  return value < 0.095 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(value < 9.95 ? 1 : 0)} s`;
}

function signed(value, digits) {
  const text = Math.abs(value).toFixed(digits);
  return Number(text) === 0 ? `±${text}` : `${value < 0 ? "−" : "+"}${text}`;
}

// Columns of the table: what they show, how a difference from the first codec is told, and which way is better (0: neither).
const COLUMNS = [
  { key: "bytes", title: "Bytes", text: (value) => value.toLocaleString("en"), better: -1, share: true },
  { key: "bpp", title: "Bits per pixel", text: (value) => value.toFixed(3), better: -1 },
  { key: "psnr", title: "PSNR, dB", text: decibels, better: 1, digits: 2 },
  { key: "ms_ssim", title: "MS-SSIM", text: (value) => fixed(value, 4), better: 1, digits: 4 },
  { key: "ssimulacra2", title: "SSIMULACRA2", text: (value) => fixed(value, 1), better: 1, digits: 1 },
  { key: "encode_seconds", title: "Encode", text: seconds, better: 0 },
  { key: "decode_seconds", title: "Decode", text: seconds, better: 0 },
];

function versionsTable(image, viewer, match) {
  const equal = match === "psnr" ? ["psnr"] : ["bytes", "bpp"];
  const head = make("tr", {}, make("th", { scope: "col", class: "text" }, "Shown"), make("th", { scope: "col", class: "text" }, "Version"));
  head.append(...COLUMNS.map((column) => make("th", { scope: "col" }, column.title)));
  const rows = image.versions.map((version, place) => versionRow(image, version, place, viewer, equal));
  byId("versions").replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
  for (const part of byId("versions").querySelectorAll("thead, tbody")) part.setAttribute("role", "rowgroup");
  for (const row of byId("versions").querySelectorAll("tr")) row.setAttribute("role", "row");
  for (const cell of byId("versions").querySelectorAll("td")) cell.setAttribute("role", "cell");
  byId("versions").setAttribute("role", "table");
  viewer.onChoice((chosen) => {
    rows.forEach((row, place) => {
      row.classList.toggle("shown", chosen.includes(place));
      row.querySelectorAll(".choose button").forEach((button, side) => button.setAttribute("aria-pressed", chosen[side] === place));
    });
  });
}

function versionRow(image, version, place, viewer, equal) {
  const buttons = ["Left", "Right"].map((name, side) => {
    const button = make("button", { type: "button", "aria-label": `${version.name} on the ${name.toLowerCase()}` }, name[0]);
    button.addEventListener("click", () => viewer.choose(side, place));
    return button;
  });
  const name = make("th", { scope: "row", role: "rowheader" }, make("span", { class: "swatch" }), version.name);
  const about = [version.figures?.quality != null && `quality ${round(version.figures.quality)}`, version.settings].filter(Boolean).join(", ");
  if (version.note) name.append(make("small", { class: "note" }, version.note));
  if (about) name.append(make("small", {}, about));
  paintSeries(name, version.name, place);
  const row = make("tr", {}, make("td", { class: "text chooser" }, make("span", { class: "choose" }, ...buttons)), name);
  row.append(...COLUMNS.map((column) => figureCell(image, version, column, equal)));
  return row;
}

function figureCell(image, version, column, equal) {
  const value = version.figures?.[column.key];
  if (value === undefined) return make("td", { class: "empty" }, "");
  const cell = make("td", { "data-label": column.title }, column.text(value));
  if (column.better && isBest(image, version, column) && !equal.includes(column.key)) cell.classList.add("best");
  const first = image.versions.find((other) => other.figures);
  if (version !== first && !equal.includes(column.key)) cell.append(...difference(value, first.figures[column.key], column));
  return cell;
}

// Whether no other version has a better figure, of those that are comparable.
function isBest(image, version, column) {
  const figures = image.versions.filter((other) => other.figures && !other.note).map((other) => other.figures[column.key] ?? Infinity);
  const best = column.better > 0 ? Math.max(...figures) : Math.min(...figures);
  return !version.note && figures.length > 1 && (version.figures[column.key] ?? Infinity) === best;
}

// How a figure differs from the first codec's, as a small text; nothing for columns where nobody asks.
function difference(value, first, column) {
  if (value === null || first === null) return [];
  if (column.share) return [make("small", {}, `${signed(100 * (value / first - 1), 0)} %`)];
  return column.digits ? [make("small", {}, signed(value - first, column.digits))] : [];
}

function round(quality) {
  return Number(quality.toFixed(1));
}
