// The page: state, controls, and the loop that draws them.

const page = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

// ---- the model

function readArrays(operation) {
  const read = {};
  for (const [key, value] of Object.entries(operation)) {
    read[key] = value !== null && typeof value === "object" && "dtype" in value ? arrayOf(value) : value;
  }
  return read;
}

const latent = page.latent;
const decodeRaw = compile(page.operations.map(readArrays), latent);
const view = new VIEWS[page.view.kind](page.view);
const isImage = page.view.kind === "image";

const points = {
  count: page.points.count,
  latent,
  codes: arrayOf(page.points.codes),
  rows: page.points.rows,
  conditions: page.points.conditions ? arrayOf(page.points.conditions) : null,
  classes: page.labels && page.labels.kind === "classes" ? arrayOf(page.labels.index) : null,
  values: page.labels && page.labels.kind === "values" ? arrayOf(page.labels.values) : null,
};
// Heights of the points of a single latent dimension, which have no meaning.
const [lowest, highest] = points.codes.reduce(([a, b], z) => [Math.min(a, z), Math.max(b, z)], [Infinity, -Infinity]);
const width = highest - lowest || 1;
points.spread = Float32Array.from({ length: points.count }, (_, i) => 0.6 * width * (((i * 0.6180339887) % 1) - 0.5));
points.shares = points.values ? points.values.map((value) => (value - page.labels.low) / (page.labels.high - page.labels.low || 1)) : null;
const codeOf = (i) => points.codes.slice(i * latent, (i + 1) * latent);
const conditionOf = (i) => points.conditions.slice(i * page.condition.columns, (i + 1) * page.condition.columns);

function labelOf(i) {
  if (points.classes) return page.labels.names[points.classes[i]];
  return points.values ? `${page.labels.name} = ${shortNumber(points.values[i])}` : "";
}

const state = {
  z: null,
  y: page.condition ? Float32Array.from(page.condition.start) : null,
  height: 0, // of the ring, for a single latent dimension
  example: 0, // the last example that was chosen
  ends: [null, null],
  strength: { base: null, value: 0 },
};
const decode = (z, y = state.y) => decodeRaw(z, y);

// ---- thumbnails of the original examples

const sprite = page.thumbnails ? new Image() : null;

function thumbnail(i) {
  if (!sprite || !sprite.complete || i >= page.thumbnails.count) return null;
  const { height, width } = view;
  const canvas = element("canvas", "image");
  [canvas.width, canvas.height] = [width, height];
  const column = i % page.thumbnails.columns, row = Math.floor(i / page.thumbnails.columns);
  canvas.getContext("2d").drawImage(sprite, column * width, row * height, width, height, 0, 0, width, height);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `original image of row ${points.rows[i]}`);
  return canvas;
}

// ---- the map

const tooltip = byId("tooltip");
let hovered = -1;

function showTooltip(i, x, y) {
  if (i < 0) {
    tooltip.hidden = true;
    hovered = -1;
    return;
  }
  if (i !== hovered) {
    hovered = i;
    tooltip.replaceChildren(element("p", "", [labelOf(i), `row ${points.rows[i]}`].filter(Boolean).join(" · ")));
    const images = tooltip.appendChild(element("div", "images"));
    const original = thumbnail(i);
    const decoded = view.hint(decode(codeOf(i), points.conditions ? conditionOf(i) : null));
    for (const [content, name] of [[original, "original"], [decoded, "decoded"]]) {
      if (!content) continue;
      const figure = images.appendChild(element("figure"));
      figure.append(content, element("figcaption", "", name));
    }
  }
  tooltip.hidden = false;
  const { clientWidth: width, clientHeight: height } = scatter.canvas;
  const left = x + 16 + tooltip.offsetWidth > width ? x - 16 - tooltip.offsetWidth : x + 16;
  tooltip.style.left = `${Math.max(0, left)}px`;
  tooltip.style.top = `${Math.max(0, Math.min(y + 12, height - tooltip.offsetHeight))}px`;
}

function pick(i, asEnd = false) {
  state.example = i;
  if (points.conditions) setCondition(conditionOf(i));
  state.height = points.spread[i];
  setCode(codeOf(i));
  if (asEnd) setEnd(state.ends[1] === state.lastEnd ? 0 : 1);
}

const scatter = new Scatter(
  byId("scatter"),
  points,
  {
    hover: showTooltip,
    pick,
    move(target) {
      if (latent === 1) state.height = target[1];
      setCode(scatter.projection.lift(state.z, target));
    },
    viewed: () => scheduleTiles(),
  },
  page.prior,
);

// Directions that the axes can show: latent dimensions, then principal components.
const directions = [
  ...page.dimensions.map(({ name, index }) => ({
    name,
    vector: Float32Array.from({ length: latent }, (_, j) => Number(j === index)),
  })),
  ...page.components.map(({ name, vector }) => ({ name, vector: arrayOf(vector) })),
];

function setAxes() {
  const [first, second] = [byId("axis-x"), byId("axis-y")].map((select) => directions[Number(select.value)]);
  scatter.setProjection(new Projection(first.vector, latent > 1 ? second.vector : null, page.simplex));
  const names = latent > 1 ? `${first.name} across, ${second.name} up` : `${first.name} across; the height has no meaning`;
  scatter.canvas.setAttribute("aria-label", `map of ${points.count} codes: ${names}`);
}

function buildAxes() {
  const selects = [byId("axis-x"), byId("axis-y")];
  selects.forEach((select, axis) => {
    directions.forEach(({ name }, i) => {
      const option = select.appendChild(element("option", "", name));
      option.value = i;
    });
    select.value = page.axes[axis];
    select.addEventListener("change", () => {
      const other = selects[1 - axis];
      if (other.value === select.value) other.value = [...other.options].find((option) => option.value !== select.value).value;
      setAxes();
      requestRender();
    });
  });
  if (latent === 1) byId("axes").hidden = true;
  if (latent === 2 && directions.length === 2) byId("axes").hidden = true;
}

function buildLegend() {
  const legend = byId("legend");
  legend.replaceChildren();
  if (points.classes) {
    page.labels.names.forEach((name, k) => {
      const button = legend.appendChild(element("button"));
      button.type = "button";
      button.setAttribute("aria-pressed", String(!scatter.hidden.has(k)));
      const svg = button.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "svg"));
      svg.setAttribute("viewBox", "0 0 12 12");
      svg.setAttribute("aria-hidden", "true");
      const [tag, attributes] = [
        ["circle", { cx: 6, cy: 6, r: 5 }],
        ["rect", { x: 1, y: 1, width: 10, height: 10 }],
        ["path", { d: "M6 0L12 11H0Z" }],
      ][classShape(k)];
      const mark = svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", tag));
      for (const [key, value] of Object.entries({ ...attributes, fill: classColour(k) })) mark.setAttribute(key, value);
      button.append(element("span", "", name));
      button.title = `show or hide ${name}`;
      button.addEventListener("click", () => {
        if (!scatter.hidden.delete(k)) scatter.hidden.add(k);
        button.setAttribute("aria-pressed", String(!scatter.hidden.has(k)));
        scatter.redraw();
        requestRender();
      });
    });
  } else if (points.values) {
    const scale = legend.appendChild(element("div", "scale"));
    const canvas = element("canvas");
    [canvas.width, canvas.height] = [256, 1];
    const c = canvas.getContext("2d");
    for (let x = 0; x < 256; x++) {
      c.fillStyle = valueColour(x / 255);
      c.fillRect(x, 0, 1, 1);
    }
    const { name, low, high } = page.labels;
    scale.append(element("span", "", `${name} ${shortNumber(low)}`), canvas, element("span", "", shortNumber(high)));
  }
}

// Decoded images in a grid over the visible part of the map; the other dimensions are those of the current code.
const TILE = 34;
const tileQueue = new Queue();

function scheduleTiles() {
  if (!isImage || !byId("tiles").checked || state.drawingTiles) return;
  tileQueue.restart([() => tileQueue.jobs.push(...tileJobs())], 200);
}

function tileJobs() {
  const { clientWidth, clientHeight } = scatter.canvas;
  const columns = Math.ceil(clientWidth / TILE), rows = Math.ceil(clientHeight / TILE);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [columns * view.width, rows * view.height];
  const low = scatter.toPlane(0, rows * TILE), high = scatter.toPlane(columns * TILE, 0);
  const context = canvas.getContext("2d");
  const jobs = [];
  for (let r = 0; r < rows; r++) {
    for (let q = 0; q < columns; q++) {
      const middle = scatter.toPlane((q + 0.5) * TILE, (r + 0.5) * TILE);
      jobs.push(() => {
        const tile = view.cell(decode(scatter.projection.lift(state.z, middle)));
        context.drawImage(tile, q * view.width, r * view.height);
      });
    }
  }
  jobs.push(() => {
    scatter.tiles = { canvas, low, high };
    state.drawingTiles = true; // this drawing must not start another
    scatter.redraw();
    state.drawingTiles = false;
  });
  return jobs;
}

// ---- the latent dimensions

const sliders = new Map();

// The current code with another value of one dimension.
function codeWith(index, value) {
  return page.simplex ? withShare(state.z, index, value) : Float32Array.from(state.z, (z, j) => (j === index ? value : z));
}

function buildSliders() {
  const active = page.dimensions.filter((dimension) => dimension.active);
  const inactive = page.dimensions.filter((dimension) => !dimension.active);
  const build = (parent, { index, name, title, low, high }) => {
    const label = parent.appendChild(element("label", "slider"));
    label.append(element("span", "", title || name));
    label.title = title || name;
    const input = label.appendChild(element("input"));
    Object.assign(input, { type: "range", min: low, max: high, step: "any" });
    input.setAttribute("aria-label", title || name);
    const output = label.appendChild(element("output"));
    input.addEventListener("input", () => {
      setCode(codeWith(index, Number(input.value)));
    });
    sliders.set(index, { input, output });
  };
  active.forEach((dimension) => build(byId("sliders"), dimension));
  if (inactive.length) {
    byId("inactive").hidden = false;
    byId("inactive").querySelector("summary").textContent = `${inactive.length} dimensions that the model does not use`;
    inactive.forEach((dimension) => build(byId("inactive-sliders"), dimension));
  }
  if (!active.length) byId("inactive").open = true;
}

byId("centre").addEventListener("click", () => setCode(Float32Array.from(page.centre)));
byId("random").addEventListener("click", () => {
  if (!page.prior) return pick(Math.floor(Math.random() * points.count));
  const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  setCode(Float32Array.from({ length: latent }, normal));
});

// ---- the condition of a conditional model

const conditionInputs = [];

function buildCondition() {
  if (!page.condition) return;
  const parent = byId("condition");
  parent.hidden = false;
  if (page.condition.kind === "labels") {
    const label = parent.appendChild(element("label", "", "decoded as "));
    const select = label.appendChild(element("select"));
    page.condition.names.forEach((name, k) => {
      select.appendChild(element("option", "", name)).value = k;
    });
    select.addEventListener("change", () => {
      setCondition(state.y.map((_, k) => Number(k === Number(select.value))));
      requestRender();
    });
    conditionInputs.push({ show: (y) => (select.value = y.indexOf(1)) });
    return;
  }
  page.condition.names.forEach((name, k) => {
    const label = parent.appendChild(element("label", "", `${name} `));
    const input = label.appendChild(element("input"));
    Object.assign(input, { type: "range", min: page.condition.low[k], max: page.condition.high[k], step: "any" });
    input.setAttribute("aria-label", name);
    const output = label.appendChild(element("output"));
    input.addEventListener("input", () => {
      setCondition(state.y.map((value, j) => (j === k ? Number(input.value) : value)));
      requestRender();
    });
    conditionInputs.push({
      show(y) {
        input.value = y[k];
        output.textContent = shortNumber(y[k]);
      },
    });
  });
}

function setCondition(y) {
  state.y = Float32Array.from(y);
  conditionInputs.forEach((input) => input.show(state.y));
}

// ---- interpolation

const STEPS = page.view.kind === "words" ? 5 : 9;
const film = new Strip(byId("film"), STEPS, (i) => moveAlong(i / (STEPS - 1)));

function setEnd(which) {
  state.ends[which] = Float32Array.from(state.z);
  state.lastEnd = state.ends[which];
  scatter.ends = state.ends;
  requestRender();
}

function moveAlong(t) {
  byId("path").value = t;
  setCode(mixed(...state.ends, t));
  film.mark(Math.round(t * (STEPS - 1)));
}

byId("set-a").addEventListener("click", () => setEnd(0));
byId("set-b").addEventListener("click", () => setEnd(1));
byId("path").addEventListener("input", (event) => moveAlong(Number(event.target.value)));

function filmJobs() {
  const at = spaced(0, 1, STEPS);
  const names = at.map((t) => (t === 0 ? "A" : t === 1 ? "B" : `${Math.round(100 * t)} % of the way from A to B`));
  return film.jobs(at.map((t) => mixed(...state.ends, t)), names, decode, view);
}

// ---- attribute vectors

const attributeFilm = new Strip(byId("attribute-film"), STEPS, (i) => applyStrength(spaced(-2, 2, STEPS)[i]));

function attributeVector() {
  const [from, to] = ["from", "to"].map((id) => page.attributes[Number(byId(id).value)]);
  return Float32Array.from(from.code, (value, j) => to.code[j] - value);
}

function withStrength(strength) {
  const vector = attributeVector();
  const code = Float32Array.from(state.strength.base, (value, j) => value + strength * vector[j]);
  return page.simplex ? ontoSimplex(code) : code;
}

function applyStrength(value) {
  byId("strength").value = value;
  setCode(withStrength(value), value);
  attributeFilm.mark(spaced(-2, 2, STEPS).findIndex((step) => Math.abs(step - value) < 1e-6));
}

function buildAttributes() {
  if (page.attributes.length < 2) {
    byId("attributes").hidden = true;
    byId("main").classList.add("no-attributes");
    return;
  }
  for (const [id, chosen] of [["from", 0], ["to", 1]]) {
    const select = byId(id);
    page.attributes.forEach(({ name }, k) => {
      select.appendChild(element("option", "", name)).value = k;
    });
    select.value = chosen;
    select.addEventListener("change", () => {
      byId("strength").value = 0;
      setCode(state.strength.base);
    });
  }
  byId("strength").addEventListener("input", (event) => applyStrength(Number(event.target.value)));
  byId("attribute-help").textContent =
    "The difference of the mean codes of the two groups, times the strength, added to the code at strength 0.";
}

function attributeJobs() {
  if (page.attributes.length < 2) return [];
  const at = spaced(-2, 2, STEPS);
  return attributeFilm.jobs(at.map(withStrength), at.map((value) => `strength ${shortNumber(value)}`), decode, view);
}

// ---- traversals

const MOST_ROWS = 8;
const traversals = [];

function buildTraversals() {
  const active = page.dimensions.filter((dimension) => dimension.active);
  for (const { index, name, title, walk } of (active.length ? active : page.dimensions).slice(0, MOST_ROWS)) {
    const row = byId("rows").appendChild(element("div", "row"));
    row.append(element("span", "", title || name));
    const parent = row.appendChild(element("div", "strip"));
    parent.setAttribute("role", "group");
    parent.setAttribute("aria-label", `traversal of ${title || name}`);
    const at = spaced(...walk, STEPS);
    const codeAt = (value) => codeWith(index, value);
    const strip = new Strip(parent, STEPS, (i) => setCode(codeAt(at[i])));
    const names = at.map((value) => `${name} = ${shortNumber(value)}`);
    traversals.push(() => strip.jobs(at.map(codeAt), names, decode, view));
  }
}

// ---- drawing

const stripQueue = new Queue();
let frame = null;

// Set the code. A strength of the attribute vector keeps the code from which it starts.
function setCode(z, strength = null) {
  state.z = z;
  if (strength === null) {
    state.strength.base = z;
    byId("strength").value = 0;
    attributeFilm.mark(Math.floor(STEPS / 2));
    film.mark(-1);
  }
  requestRender();
}

function requestRender() {
  frame ??= requestAnimationFrame(render);
}

function nearest() {
  let best = 0, least = Infinity;
  for (let i = 0; i < points.count; i++) {
    if (!scatter.shown(i)) continue;
    let sum = 0;
    for (let j = 0, k = i * latent; j < latent && sum < least; j++, k++) sum += (points.codes[k] - state.z[j]) ** 2;
    if (sum < least) [least, best] = [sum, i];
  }
  return [best, Math.sqrt(least)];
}

let shownThumbnail = -1;

function render() {
  frame = null;
  view.show(byId("decoded"), decode(state.z));
  scatter.setCode(state.z, state.height);
  for (const [index, { input, output }] of sliders) {
    input.value = state.z[index];
    output.textContent = shortNumber(state.z[index]);
  }
  const [i, distance] = nearest();
  const about = [labelOf(i), `row ${points.rows[i]}`].filter(Boolean).join(", ");
  byId("nearest").textContent =
    distance === Infinity
      ? "All examples are hidden."
      : `Nearest example: ${about}${distance > 1e-4 ? `, at distance ${shortNumber(distance)}` : ""}`;
  if (i !== shownThumbnail) {
    const original = thumbnail(i);
    byId("original").hidden = !original;
    if (original) byId("thumbnail").replaceChildren(original);
    shownThumbnail = original ? i : -1;
  }
  if (latent > 2) scheduleTiles();
  stripQueue.restart([...filmJobs(), ...attributeJobs(), ...traversals.flatMap((jobs) => jobs())], 90);
}

// ---- keys, buttons and themes

const KEYS = {
  ArrowLeft: (step) => moveBy(-step, 0),
  ArrowRight: (step) => moveBy(step, 0),
  ArrowUp: (step) => moveBy(0, step),
  ArrowDown: (step) => moveBy(0, -step),
  n: () => pick((state.example + 1) % points.count),
  p: () => pick((state.example + points.count - 1) % points.count),
  a: () => setEnd(0),
  b: () => setEnd(1),
  "+": () => scatter.zoom(1.25),
  "=": () => scatter.zoom(1.25),
  "-": () => scatter.zoom(0.8),
  0: () => scatter.fit(),
};

// Move the ring by pixels of the map.
function moveBy(dx, dy) {
  const [x, y] = scatter.projection.of(state.z, 0, state.height);
  const target = [x + dx / scatter.scale, y + dy / scatter.scale];
  if (latent === 1) state.height = target[1];
  setCode(scatter.projection.lift(state.z, target));
}

scatter.canvas.addEventListener("keydown", (event) => {
  const act = KEYS[event.key] || KEYS[event.key.toLowerCase()];
  if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act(event.shiftKey ? 32 : 8);
});
byId("zoom-in").addEventListener("click", () => scatter.zoom(1.4));
byId("zoom-out").addEventListener("click", () => scatter.zoom(1 / 1.4));
byId("zoom-fit").addEventListener("click", () => scatter.fit());
byId("tiles").addEventListener("change", () => {
  scatter.tiles = null;
  tileQueue.restart([], 0);
  scatter.redraw();
});
darkTheme.addEventListener("change", () => {
  buildLegend();
  scatter.redraw();
  requestRender();
});
new ResizeObserver(() => scatter.resize()).observe(scatter.canvas);

// ---- start

function farthestFrom(code) {
  let best = 0, most = -1;
  for (let i = 0; i < points.count; i++) {
    const distance = codeOf(i).reduce((sum, value, j) => sum + (value - code[j]) ** 2, 0);
    if (distance > most) [most, best] = [distance, i];
  }
  return best;
}

function nearestTo(code) {
  state.z = Float32Array.from(code);
  return nearest()[0];
}

function start() {
  document.body.classList.add(isImage ? "images" : "features", `${page.view.kind}-kind`);
  const shown = page.dimensions.filter((dimension) => dimension.active).length;
  if (shown <= 10 && !page.simplex) byId("main").classList.add(shown <= 4 ? "few" : "some");
  if (page.dimensions.some((dimension) => dimension.title)) document.body.classList.add("named");
  if (latent === 1) byId("map-help").prepend("There is one latent dimension; the height of a point has no meaning. ");
  byId("facts").textContent = page.facts;
  byId("contents").textContent = page.contents;
  byId("tiles-choice").hidden = !isImage || latent === 1;
  byId("tiles").checked = isImage && latent === 2; // then the plane is the whole latent space
  buildAxes();
  setAxes();
  buildLegend();
  buildSliders();
  buildCondition();
  buildAttributes();
  buildTraversals();
  const first = page.attributes.length ? nearestTo(page.attributes[0].code) : 0;
  const last = page.attributes.length > 1 ? nearestTo(page.attributes[1].code) : farthestFrom(codeOf(first));
  pick(last);
  setEnd(1);
  pick(first);
  setEnd(0);
  if (sprite) {
    sprite.addEventListener("load", requestRender);
    sprite.src = `data:image/png;base64,${page.thumbnails.png}`;
  }
}

// For the console and for tests.
window.explorer = {
  decode: (z, y) => Array.from(decode(Float32Array.from(z), y ? Float32Array.from(y) : state.y)),
  code: () => Array.from(state.z),
  condition: () => (state.y ? Array.from(state.y) : null),
  moveTo: (z) => setCode(Float32Array.from(z)),
  place: (i) => scatter.toScreen(scatter.positions[2 * i], scatter.positions[2 * i + 1]),
  ring: () => scatter.ringAt(),
  pending: () => frame !== null || stripQueue.jobs.length > 0,
  // Frames a second, and milliseconds of work a frame, while the code moves for `frames` frames.
  measure(frames) {
    return new Promise((resolve) => {
      const origin = Float32Array.from(state.z);
      let drawn = 0, work = 0;
      const began = performance.now();
      const next = () => {
        const start = performance.now();
        state.z = Float32Array.from(origin, (z, j) => z + 0.5 * Math.sin(drawn / 9 + j));
        render();
        work += performance.now() - start;
        drawn += 1;
        if (drawn < frames) return requestAnimationFrame(next);
        const seconds = (performance.now() - began) / 1000;
        setCode(origin);
        resolve({ framesPerSecond: frames / seconds, millisecondsPerFrame: work / frames });
      };
      requestAnimationFrame(next);
    });
  },
};

try {
  start();
} catch (error) {
  byId("failure").hidden = false;
  byId("failure").textContent = `The page cannot be shown: ${error.message}`;
  throw error;
}
