// The page: puts the data of the report where it is shown.

const viewer = new Viewer();
setUpTheme(byId("theme"));

// Show one image of the report: its versions, figures and curves.
async function showImage(image, match, chosen) {
  byId("title").textContent = image.name;
  byId("lead").textContent = leadOf(image, match);
  viewer.listeners = [];
  versionsTable(image, viewer, match);
  await viewer.show(image, chosen);
  byId("figures").hidden = false;
  const measured = image.versions.filter((version) => version.points.length);
  const curves = measured.some((version) => version.points.length > 1) ? measured : [];
  showCurves(curves.map((version) => ({
    name: version.name,
    points: version.points,
    chosen: version.points.find((point) => point.bytes === version.figures.bytes),
    style: version.name.endsWith("default settings") ? "dashed" : "",
  })));
  document.documentElement.dataset.shown = image.name;
}

function showCurves(curves) {
  byId("curves").hidden = !curves.length;
  if (curves.length) new Charts(curves);
}

function leadOf(image, match) {
  const [width, height] = image.size;
  const first = image.versions.find((version) => version.figures);
  const goal = match === "psnr" ? `files of at least ${decibels(first.figures.psnr)} dB` : `files of at most ${bytesText(first.figures.bytes)}`;
  const [left, top, w, h] = image.region;
  const part = w < width || h < height ? ` Shown: the part of ${w} × ${h} pixels at ${left}, ${top}; figures are of the whole image.` : "";
  return `${width} × ${height} pixels, ${goal}.${part}`;
}

function showMade(made) {
  byId("made").replaceChildren(...made.flatMap(([term, text]) => [make("dt", {}, term), make("dd", {}, text)]));
}

function start(report) {
  showMade(report.made);
  byId("figures-note").textContent = report.note ?? "";
  if (report.curves_note) byId("curves-note").textContent = report.curves_note;
  if (report.set) showSet(report.set);
  if (!report.images?.length) return;
  const select = byId("image");
  select.replaceChildren(...report.images.map((image, place) => new Option(image.name, place)));
  byId("image-picker").hidden = report.images.length < 2;
  select.addEventListener("change", () => showImage(report.images[select.value], report.match, viewer.chosen));
  showImage(report.images[0], report.match);
}

const report = JSON.parse(byId("data").textContent);
if (report) start(report);
