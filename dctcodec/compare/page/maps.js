// Maps: the error of a version, and figures of its tiles.

// A canvas with an image's pixels.
function canvasOf(image) {
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  canvas.getContext("2d", { willReadFrequently: true }).drawImage(image, 0, 0);
  return canvas;
}

function pixelsOf(canvas) {
  return canvas.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, canvas.width, canvas.height).data;
}

// The mean difference of a pixel's three values, 0..255, in the colours of SCALE; `gain` times it is at the end of the scale.
function errorMap(original, decoded, gain) {
  const canvas = document.createElement("canvas");
  canvas.width = original.width;
  canvas.height = original.height;
  const [first, second] = [pixelsOf(original), pixelsOf(decoded)];
  const map = new ImageData(canvas.width, canvas.height);
  for (let at = 0; at < first.length; at += 4) {
    const error = errorAt(first, second, at);
    const colour = SCALE[Math.min(255, Math.round(error * gain))];
    map.data.set(colour, at);
    map.data[at + 3] = 255;
  }
  canvas.getContext("2d").putImageData(map, 0, 0);
  return canvas;
}

function errorAt(first, second, at) {
  return (Math.abs(first[at] - second[at]) + Math.abs(first[at + 1] - second[at + 1]) + Math.abs(first[at + 2] - second[at + 2])) / 3;
}

// The image in grey under the figures of its tiles in colour. `region`: what the image shows of the whole, [left, top, width, height].
function tileMap(image, map, region) {
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  const context = canvas.getContext("2d");
  context.filter = "grayscale(1)";
  context.drawImage(image, 0, 0);
  context.filter = "none";
  const most = mostOf(map);
  map.values.forEach((value, place) => {
    const x = (place % map.columns) * map.tile - region[0];
    const y = Math.floor(place / map.columns) * map.tile - region[1];
    context.globalAlpha = 0.72;
    context.fillStyle = `rgb(${SCALE[Math.round((value / most) * 255)].join(" ")})`;
    context.fillRect(x, y, map.tile, map.tile);
    context.globalAlpha = 0.35;
    context.strokeStyle = "#000";
    context.strokeRect(x + 0.5, y + 0.5, map.tile, map.tile);
  });
  return canvas;
}

function mostOf(map) {
  return Math.max(...map.values) || 1;
}

// A tile's figure at a pixel of the whole image, as text; null outside.
function tileReading(map, x, y) {
  const column = Math.floor(x / map.tile);
  const row = Math.floor(y / map.tile);
  const value = map.values[row * map.columns + column];
  if (column < 0 || column >= map.columns || value === undefined) return null;
  return `tile ${column + 1}, ${row + 1}: ${value.toLocaleString("en", { maximumFractionDigits: 0 })} ${map.unit}`;
}
