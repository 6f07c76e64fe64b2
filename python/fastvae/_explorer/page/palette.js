// Colours that people with any colour vision tell apart: Okabe & Ito's for classes, viridis for values. From the ninth
// class on colours repeat with another shape.

const CLASS_COLOURS = {
  light: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b5b00", "#4d4d4d"],
  dark: ["#3d9fe0", "#ff7a33", "#1fc498", "#e79cc6", "#ffb92e", "#9ad9ff", "#f0e442", "#d0d5db"],
};
const VIRIDIS = [
  [68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99], [170, 220, 50],
  [253, 231, 37],
];
const SHAPES = [
  (c, x, y, r) => c.arc(x, y, r, 0, 2 * Math.PI),
  (c, x, y, r) => c.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r),
  (c, x, y, r) => {
    c.moveTo(x, y - 1.25 * r);
    c.lineTo(x + 1.2 * r, y + 0.9 * r);
    c.lineTo(x - 1.2 * r, y + 0.9 * r);
    c.closePath();
  },
];

const darkTheme = window.matchMedia("(prefers-color-scheme: dark)");

function classColour(index) {
  const colours = CLASS_COLOURS[darkTheme.matches ? "dark" : "light"];
  return colours[index % colours.length];
}

function classShape(index) {
  return Math.floor(index / CLASS_COLOURS.light.length) % SHAPES.length;
}

// A colour for a share in [0, 1].
function valueColour(share) {
  const position = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1);
  const i = Math.min(Math.floor(position), VIRIDIS.length - 2);
  const mixed = VIRIDIS[i].map((a, c) => Math.round(a + (position - i) * (VIRIDIS[i + 1][c] - a)));
  return `rgb(${mixed.join(" ")})`;
}

function themeColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
