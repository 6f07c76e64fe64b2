// Views of a decoded example: an image, bars of features, or words. Each has
//   show(element, values)   the large view
//   cell(values)            an element for a step of a strip
//   hint(values)            an element for the tooltip
// All text is set as text, never as HTML.

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// A number in about four characters.
function shortNumber(value) {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e5 || size < 1e-3)) return value.toExponential(1).replace("-", "−");
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2).replace("-", "−");
}

const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 2 : 1)} %`;

class ImageView {
  constructor({ shape, range }) {
    [this.height, this.width, this.channels] = shape;
    [this.low, this.high] = range;
  }

  paint(canvas, values) {
    const { width, height, channels, low, high } = this;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const factor = 255 / (high - low);
    for (let p = 0; p < width * height; p++) {
      for (let c = 0; c < 3; c++) {
        image.data[4 * p + c] = Math.round((values[p * channels + (channels >= 3 ? c : 0)] - low) * factor);
      }
      image.data[4 * p + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }

  show(parent, values) {
    if (!parent.firstChild) {
      const canvas = parent.appendChild(element("canvas", "image"));
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", "decoded image of the current code");
    }
    this.paint(parent.firstChild, values);
  }

  cell(values) {
    const canvas = element("canvas", "image");
    this.paint(canvas, values);
    return canvas;
  }

  hint(values) {
    return this.cell(values);
  }
}

const MOST_BARS = 16, HINT_BARS = 6;

// Bars of features within the range [low, high] of the reconstructions, from their mean (or from 0 if `fromZero`).
class BarsView {
  constructor({ names, low, high, middle, fromZero }) {
    this.names = names;
    [this.low, this.high, this.middle] = [low, high, middle].map(arrayOf);
    this.fromZero = fromZero;
    this.order = Array.from(names, (_, j) => j);
  }

  share(value, j) {
    const width = this.high[j] - this.low[j];
    return width > 0 ? Math.min(Math.max((value - this.low[j]) / width, 0), 1) : 0.5;
  }

  base(j) {
    return this.fromZero ? 0 : this.share(this.middle[j], j);
  }

  // The features that differ most from their mean, in the order of the columns.
  chosen(values, most = MOST_BARS) {
    if (this.names.length <= most) return this.order;
    const surprise = (j) => Math.abs(this.share(values[j], j) - this.share(this.middle[j], j));
    return [...this.order].sort((a, b) => surprise(b) - surprise(a)).slice(0, most).sort((a, b) => a - b);
  }

  show(parent, values) {
    const chosen = this.chosen(values);
    if (!this.bars) this.bars = new BarList(parent, chosen.length, "bars");
    chosen.forEach((j, row) => this.bars.set(row, this.names[j], this.base(j), this.share(values[j], j), shortNumber(values[j])));
  }

  cell(values) {
    const ratio = 2, size = 56;
    const canvas = element("canvas");
    [canvas.width, canvas.height] = [size * ratio, size * ratio];
    const c = canvas.getContext("2d");
    const shown = this.names.length <= 40 ? this.order : this.chosen(values);
    const width = (size * ratio) / shown.length;
    shown.forEach((j, i) => {
      const from = this.base(j), to = this.share(values[j], j);
      c.fillStyle = themeColour(to >= from ? "bar" : "bar-less");
      const top = Math.min(1 - from, 1 - to) * size * ratio;
      c.fillRect(i * width + 0.1 * width, top, 0.8 * width, Math.max(1, Math.abs(to - from) * size * ratio));
    });
    return canvas;
  }

  hint(values) {
    const made = element("div", "hint");
    for (const j of this.chosen(values, HINT_BARS)) {
      made.append(element("span", "", this.names[j]), element("span", "", shortNumber(values[j])));
    }
    return made;
  }
}

// A list of bars that is changed in place.
class BarList {
  constructor(parent, rows, className) {
    const list = parent.appendChild(element("div", className));
    list.setAttribute("role", "table");
    list.setAttribute("aria-label", "decoded features");
    this.rows = Array.from({ length: rows }, () => {
      const row = list.appendChild(element("div"));
      row.setAttribute("role", "row");
      row.style.display = "contents";
      const name = row.appendChild(element("span", "name"));
      name.setAttribute("role", "rowheader");
      const track = row.appendChild(element("span", "track"));
      track.setAttribute("role", "presentation");
      const bar = track.appendChild(element("i"));
      const value = row.appendChild(element("span", "value"));
      value.setAttribute("role", "cell");
      return { name, bar, value };
    });
  }

  set(row, name, from, to, text) {
    const parts = this.rows[row];
    if (parts.name.textContent !== name) {
      parts.name.textContent = name;
      parts.name.title = name;
    }
    parts.bar.className = to >= from ? "" : "less";
    parts.bar.style.transform = `translateX(${100 * Math.min(from, to)}%) scaleX(${Math.max(Math.abs(to - from), 0.004)})`;
    parts.value.textContent = text;
  }
}

const TOP_WORDS = 14, CELL_WORDS = 5;

// The most probable words.
class WordsView {
  constructor({ names }) {
    this.names = names;
  }

  top(values, n) {
    const best = [];
    for (let j = 0; j < values.length; j++) {
      if (best.length === n && values[j] <= values[best[n - 1]]) continue;
      let place = best.length;
      while (place > 0 && values[best[place - 1]] < values[j]) place--;
      best.splice(place, 0, j);
      if (best.length > n) best.pop();
    }
    return best;
  }

  show(parent, values) {
    const best = this.top(values, TOP_WORDS);
    if (!this.bars) this.bars = new BarList(parent, best.length, "bars words");
    best.forEach((j, row) => this.bars.set(row, this.names[j], 0, values[j] / values[best[0]], percent(values[j])));
  }

  cell(values) {
    const made = element("div", "cell-words");
    for (const j of this.top(values, CELL_WORDS)) made.append(element("div", "", this.names[j]));
    return made;
  }

  hint(values) {
    return this.cell(values);
  }
}

const VIEWS = { image: ImageView, features: BarsView, words: WordsView };
