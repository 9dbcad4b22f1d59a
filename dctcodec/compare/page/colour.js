"use strict";

// Colours: which series a codec has, the scale of maps, and the theme.

const SERIES = { dctcodec: 1, "AVIF, best settings": 3, "AVIF-PSNR": 3, "AVIF, default settings": 4, "AVIF-IQ": 4, AVIF: 4, "JPEG XL": 5, WebP: 6, JPEG: 7 };

// The number of a codec's colour, 1 to 8; others take turns by their place with all but the first, which is dctcodec's.
function seriesOf(name, place) {
  return SERIES[name] ?? (name.startsWith("dctcodec") ? 2 : (place % 7) + 2);
}

function paintSeries(element, name, place) {
  element.style.setProperty("--series", name === "original" ? "var(--text)" : `var(--c${seriesOf(name, place)})`);
}

const STOPS = [[8, 8, 20], [58, 18, 110], [150, 36, 104], [224, 84, 50], [250, 170, 50], [252, 250, 190]];

// 256 colours from black to pale yellow, for maps of figures: [r, g, b] of 0..255.
const SCALE = Array.from({ length: 256 }, (_, level) => {
  const place = (level / 255) * (STOPS.length - 1);
  const start = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[start].map((value, channel) => Math.round(value + (STOPS[start + 1][channel] - value) * (place - start)));
});

function drawScale(canvas) {
  const context = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x++) {
    context.fillStyle = `rgb(${SCALE[Math.round((x / (canvas.width - 1)) * 255)].join(" ")})`;
    context.fillRect(x, 0, 1, canvas.height);
  }
}

const THEMES = { system: "◐ System", light: "☀ Light", dark: "☾ Dark" };

// A button that goes through the themes; the choice is kept where the browser allows it.
function setUpTheme(button) {
  let theme = "system";
  try {
    theme = localStorage.getItem("dctcodec-theme") ?? theme;
  } catch {
    // a page opened from a file may have no storage
  }
  const show = () => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = THEMES[theme];
    button.setAttribute("aria-label", `Colour theme: ${theme}. Change it`);
  };
  if (!(theme in THEMES)) theme = "system";
  show();
  button.addEventListener("click", () => {
    const names = Object.keys(THEMES);
    theme = names[(names.indexOf(theme) + 1) % names.length];
    try {
      localStorage.setItem("dctcodec-theme", theme);
    } catch {
      // see above
    }
    show();
  });
}
