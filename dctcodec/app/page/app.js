// The app: sends the image with what the controls say, and shows what comes back. A new wish ends the work on the one before.

class App {
  constructor(limits) {
    this.limits = limits;
    this.file = null;
    this.ends = null; // of the request that runs
    this.link = null; // to the .dct file
    document.getElementById("kind").textContent = "app";
    this.setUpControls();
    this.setUpDrop();
    byId("save-image").addEventListener("click", () => this.saveImage());
    document.documentElement.dataset.ready = "app";
  }

  setUpControls() {
    const { limits } = this;
    byId("effort").max = limits.most_effort;
    byId("effort").value = limits.effort;
    Object.assign(byId("bands"), { max: limits.bands, value: limits.bands });
    byId("temperature").value = limits.temperature;
    byId("tune").replaceChildren(...limits.tunes.map((tune) => new Option(tune, tune)));
    const useless = { quality: limits.one_quality, effort: !limits.most_effort, tune: limits.tunes.length < 2, bands: limits.bands < 2 };
    for (const [name, is] of Object.entries(useless)) byId(name).closest(".control").hidden = is;
    const pixels = Math.floor(limits.max_pixels / 1e5) / 10;
    byId("drop-note").textContent = `It stays on this machine. At most ${pixels} megapixels and ${Math.floor(limits.max_bytes / 1e6)} MB.`;
    byId("controls").addEventListener("submit", (event) => event.preventDefault());
    byId("controls").addEventListener("input", () => {
      this.showValues();
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.send(), 250);
    });
    this.showValues();
  }

  showValues() {
    for (const name of ["quality", "effort", "bands", "temperature"]) byId(`${name}-value`).textContent = byId(name).value;
  }

  setUpDrop() {
    byId("file").addEventListener("change", () => this.take(byId("file").files[0]));
    for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
      document.addEventListener(name, (event) => {
        event.preventDefault();
        document.body.classList.toggle("over", name === "dragenter" || name === "dragover");
      });
    }
    document.addEventListener("drop", (event) => this.take(event.dataTransfer.files[0]));
    document.addEventListener("paste", (event) => this.take(event.clipboardData.files[0]));
  }

  take(file) {
    if (!file) return;
    this.file = file;
    this.chosen = null;
    byId("drop-name").textContent = file.name;
    byId("drop-note").textContent = `${bytesText(file.size)}. Drop or choose another.`;
    document.body.classList.add("loaded");
    this.send();
  }

  get wishes() {
    const names = ["quality", "effort", "tune", "bands", "temperature"].filter((name) => !byId(name).closest(".control").hidden);
    return new URLSearchParams([...names.map((name) => [name, byId(name).value]), ["others", byId("others").checked ? 1 : 0]]);
  }

  async send() {
    if (!this.file) return;
    this.ends?.abort();
    const ends = (this.ends = new AbortController());
    this.say("Sending the image");
    this.share(0);
    try {
      const answer = await fetch(`/api/compare?${this.wishes}`, { method: "POST", body: this.file, signal: ends.signal });
      if (!answer.ok) throw new Error(await sentence(answer));
      for await (const event of lines(answer.body)) {
        if (ends.signal.aborted) return;
        await this.takeEvent(event);
      }
    } catch (error) {
      if (ends.signal.aborted) return;
      const gone = error instanceof TypeError;
      this.say(gone ? "The server does not answer: is dctcodec app still running?" : error.message, true);
    }
    if (this.ends === ends) this.share(null);
  }

  async takeEvent(event) {
    if (event.error) throw new Error(event.error);
    if (event.warnings?.length) this.notes = event.warnings.join("; ");
    else if (event.warnings) this.notes = "";
    if (event.waiting) this.say(event.waiting === 1 ? "Waiting: one image is before yours" : `Waiting: ${event.waiting} images are before yours`);
    if (event.share !== undefined) {
      this.say("Encoding and decoding");
      this.share(event.share);
    }
    if (event.doing) this.say(`Comparing with ${event.doing}`);
    if (event.file) this.offer(event.file);
    if (event.image) await this.show(event);
  }

  async show(event) {
    const image = { ...event.image, name: this.file.name };
    const wanted = this.chosen ?? [0, 1];
    await showImage(image, "size", wanted);
    viewer.onChoice((chosen) => {
      this.chosen = [...chosen];
    });
    this.chosen = wanted;
    byId("save-image").hidden = false;
    if (event.whole) {
      this.say(this.notes ?? "");
      document.documentElement.dataset.whole = Number(document.documentElement.dataset.whole ?? 0) + 1;
    }
  }

  offer(base64) {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    if (this.link) URL.revokeObjectURL(this.link);
    this.link = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
    const link = byId("save-file");
    link.href = this.link;
    link.download = `${this.stem}.dct`;
    link.hidden = false;
  }

  get stem() {
    return this.file.name.replace(/\.[^.]*$/, "") || "image";
  }

  // The decoded image, as PNG: what the page holds is lossless.
  saveImage() {
    viewer.pictures[1].canvas.toBlob((blob) => {
      const link = make("a", { href: URL.createObjectURL(blob), download: `${this.stem}-decoded.png` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    }, "image/png");
  }

  say(text, failed = false) {
    byId("working").textContent = text;
    byId("working").classList.toggle("failed", failed);
  }

  share(value) {
    byId("progress").hidden = value === null;
    byId("progress").value = value ?? 0;
  }
}

// The JSON objects of a stream, one a line.
async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}

async function sentence(answer) {
  try {
    return (await answer.json()).error;
  } catch {
    return answer.status === 503 ? "The server is busy: try again in a minute" : `The server answered ${answer.status}`;
  }
}

const app = new App(report.app);
