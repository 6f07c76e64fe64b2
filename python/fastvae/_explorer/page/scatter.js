// The map: points on a canvas with pan, zoom, hover, selection and a ring at the current code.

const HIT = 14; // pixels within which a point is found
const TOOLS = 46; // pixels on the right that the buttons cover

class Scatter {
  // points: {count, codes, latent, classes (or null), shares (or null), spread}; events: hover, pick, move, viewed.
  constructor(canvas, points, events, rings) {
    Object.assign(this, { canvas, points, events, rings });
    this.context = canvas.getContext("2d");
    this.layer = document.createElement("canvas");
    this.hidden = new Set(); // classes that the legend switches off
    this.ends = [null, null]; // codes A and B
    this.tiles = null; // {canvas, box} of decoded images behind the points
    this.scale = 1;
    this.middle = [0, 0];
    this.positions = new Float32Array(2 * points.count);
    this.listen();
  }

  setProjection(projection) {
    this.projection = projection;
    for (let i = 0; i < this.points.count; i++) {
      const at = projection.of(this.points.codes, i * this.points.latent, this.points.spread[i]);
      this.positions.set(at, 2 * i);
    }
    this.fit();
  }

  // Show all points.
  fit() {
    const low = [Infinity, Infinity], high = [-Infinity, -Infinity];
    for (let i = 0; i < this.positions.length; i++) {
      low[i % 2] = Math.min(low[i % 2], this.positions[i]);
      high[i % 2] = Math.max(high[i % 2], this.positions[i]);
    }
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const spans = [Math.max(high[0] - low[0], 1e-6), Math.max(high[1] - low[1], 1e-6)];
    this.scale = Math.min((width - 30 - TOOLS) / spans[0], (height - 60) / spans[1]);
    this.middle = [(low[0] + high[0] + TOOLS / this.scale) / 2, (low[1] + high[1]) / 2];
    this.fitted = true;
    this.redraw();
  }

  // After a change of the canvas: all points stay in sight, unless the user has moved the view.
  resize() {
    if (this.fitted) this.fit();
    else this.redraw();
  }

  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const [px, py] = this.toPlane(x, y);
    this.fitted = false;
    this.scale = Math.min(Math.max(this.scale * factor, 1e-6), 1e7);
    const [nx, ny] = this.toPlane(x, y);
    this.middle = [this.middle[0] + px - nx, this.middle[1] + py - ny];
    this.redraw();
  }

  toScreen(px, py) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    return [width / 2 + (px - this.middle[0]) * this.scale, height / 2 - (py - this.middle[1]) * this.scale];
  }

  toPlane(x, y) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    return [this.middle[0] + (x - width / 2) / this.scale, this.middle[1] - (y - height / 2) / this.scale];
  }

  shown(i) {
    return !this.points.classes || !this.hidden.has(this.points.classes[i]);
  }

  // The nearest visible point within HIT pixels, or -1.
  at(x, y) {
    let best = -1, least = HIT * HIT;
    for (let i = 0; i < this.points.count; i++) {
      if (!this.shown(i)) continue;
      const [sx, sy] = this.toScreen(this.positions[2 * i], this.positions[2 * i + 1]);
      const distance = (sx - x) ** 2 + (sy - y) ** 2;
      if (distance < least) [least, best] = [distance, i];
    }
    return best;
  }

  ringAt() {
    const [px, py] = this.projection.of(this.code, 0, this.height);
    return this.toScreen(px, py);
  }

  // The ring's place; `height` is its vertical place if there is a single latent dimension.
  setCode(code, height = 0) {
    this.code = code;
    this.height = height;
    this.draw();
  }

  // ---- drawing

  // Points and axes go to a layer of their own, so that moving the ring costs one copy.
  redraw() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    for (const canvas of [this.canvas, this.layer]) {
      canvas.width = Math.max(1, Math.round(width * ratio));
      canvas.height = Math.max(1, Math.round(height * ratio));
    }
    const c = this.layer.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.fillStyle = themeColour("card");
    c.fillRect(0, 0, width, height);
    this.drawTiles(c);
    this.drawAxes(c, width, height);
    if (this.rings) this.drawRings(c);
    this.drawPoints(c, width, height);
    this.draw();
    this.events.viewed();
  }

  drawTiles(c) {
    if (!this.tiles) return;
    const { canvas, low, high } = this.tiles;
    const [left, bottom] = this.toScreen(...low), [right, top] = this.toScreen(...high);
    c.imageSmoothingEnabled = false;
    c.globalAlpha = 0.62;
    c.drawImage(canvas, left, top, right - left, bottom - top);
    c.globalAlpha = 1;
  }

  drawAxes(c, width, height) {
    const step = niceStep(80 / this.scale);
    const [x0, y1] = this.toPlane(0, 0), [x1, y0] = this.toPlane(width, height);
    c.font = "12px system-ui, sans-serif";
    c.lineWidth = 1;
    const digits = Math.max(0, -Math.floor(Math.log10(step)));
    const line = (value, vertical) => {
      const [sx, sy] = this.toScreen(value, value);
      const at = Math.round(vertical ? sx : sy) + 0.5;
      c.strokeStyle = themeColour(Math.abs(value) < step / 2 ? "line" : "grid");
      if (this.tiles) c.strokeStyle = "transparent";
      c.beginPath();
      if (vertical) c.moveTo(at, 0), c.lineTo(at, height);
      else c.moveTo(0, at), c.lineTo(width, at);
      c.stroke();
      const text = Number(value.toFixed(digits)).toString().replace("-", "−");
      if (vertical && sx > 20 && sx < width - 20) this.drawText(c, text, sx, height - 6, "center");
      if (!vertical && sy > 14 && sy < height - 22) this.drawText(c, text, 6, sy + 4, "left");
    };
    for (let value = Math.ceil(x0 / step) * step; value <= x1; value += step) line(value, true);
    if (this.projection.second) for (let value = Math.ceil(y0 / step) * step; value <= y1; value += step) line(value, false);
  }

  drawText(c, text, x, y, align) {
    c.textAlign = align;
    c.lineWidth = 3;
    c.strokeStyle = themeColour("card");
    c.strokeText(text, x, y);
    c.lineWidth = 1;
    c.fillStyle = themeColour(this.tiles ? "ink" : "soft");
    c.fillText(text, x, y);
  }

  // One, two and three standard deviations of the prior.
  drawRings(c) {
    const [x, y] = this.toScreen(0, 0);
    c.strokeStyle = themeColour("soft");
    c.setLineDash([3, 5]);
    for (const radius of [1, 2, 3]) {
      c.globalAlpha = 0.5;
      c.beginPath();
      if (this.projection.second) {
        c.arc(x, y, radius * this.scale, 0, 2 * Math.PI);
      } else {
        for (const at of [x - radius * this.scale, x + radius * this.scale]) {
          c.moveTo(at, 0);
          c.lineTo(at, this.canvas.clientHeight);
        }
      }
      c.stroke();
    }
    c.globalAlpha = 1;
    c.setLineDash([]);
  }

  drawPoints(c, width, height) {
    const { count, classes, shares } = this.points;
    const radius = Math.min(6, Math.max(2.4, 2.4 + 40 / Math.sqrt(count)));
    c.globalAlpha = 0.85;
    for (let i = 0; i < count; i++) {
      if (!this.shown(i)) continue;
      const [x, y] = this.toScreen(this.positions[2 * i], this.positions[2 * i + 1]);
      if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
      c.fillStyle = classes ? classColour(classes[i]) : shares ? valueColour(shares[i]) : classColour(0);
      c.beginPath();
      SHAPES[classes ? classShape(classes[i]) : 0](c, x, y, radius);
      c.fill();
      if (this.tiles) {
        c.strokeStyle = themeColour("card");
        c.stroke();
      }
    }
    c.globalAlpha = 1;
  }

  draw() {
    if (!this.code) return;
    const ratio = window.devicePixelRatio || 1;
    const c = this.context;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.drawImage(this.layer, 0, 0);
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.drawPath(c);
    const [x, y] = this.ringAt();
    for (const [colour, line] of [[themeColour("card"), 6], [themeColour("ink"), 2.5]]) {
      c.strokeStyle = colour;
      c.lineWidth = line;
      c.beginPath();
      c.arc(x, y, 9, 0, 2 * Math.PI);
      c.stroke();
    }
    c.lineWidth = 1;
  }

  // The line from A to B.
  drawPath(c) {
    if (!this.ends[0] || !this.ends[1]) return;
    const [a, b] = this.ends.map((end) => this.toScreen(...this.projection.of(end)));
    for (const [colour, line] of [[themeColour("card"), 4], [themeColour("ink"), 1.5]]) {
      c.strokeStyle = colour;
      c.lineWidth = line;
      c.beginPath();
      c.moveTo(...a);
      c.lineTo(...b);
      c.stroke();
    }
    c.font = "bold 12px system-ui, sans-serif";
    [a, b].forEach(([x, y], i) => {
      c.fillStyle = themeColour("ink");
      c.beginPath();
      c.arc(x, y, 9, 0, 2 * Math.PI);
      c.fill();
      c.fillStyle = themeColour("card");
      c.textAlign = "center";
      c.fillText("AB"[i], x, y + 4);
    });
  }

  // ---- pointer

  listen() {
    const { canvas, events } = this;
    const fingers = new Map();
    let action = null; // {kind: "move" | "pan", x, y, point}
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const spread = () => {
      const [a, b] = [...fingers.values()];
      return Math.hypot(a[0] - b[0], a[1] - b[1]);
    };
    canvas.addEventListener("pointerdown", (event) => {
      const [x, y] = place(event);
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, [x, y]);
      if (fingers.size === 2) {
        action = { kind: "pinch", distance: spread() };
        return;
      }
      const [rx, ry] = this.ringAt();
      const onRing = Math.hypot(rx - x, ry - y) < HIT + (event.pointerType === "touch" ? 10 : 0);
      const point = onRing ? -1 : this.at(x, y);
      action = { kind: onRing || point >= 0 ? "move" : "pan", x, y, grip: onRing ? [rx - x, ry - y] : [0, 0] };
      if (point >= 0) events.pick(point, event.shiftKey);
      canvas.classList.add("dragging");
      events.hover(-1);
    });
    canvas.addEventListener("pointermove", (event) => {
      const [x, y] = place(event);
      if (fingers.has(event.pointerId)) fingers.set(event.pointerId, [x, y]);
      if (!action) {
        if (event.pointerType !== "touch") events.hover(this.at(x, y), x, y);
        return;
      }
      if (action.kind === "pinch" && fingers.size === 2) {
        const [a, b] = [...fingers.values()];
        this.zoom(spread() / action.distance, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
        action.distance = spread();
      } else if (action.kind === "pan") {
        this.fitted = false;
        this.middle = [this.middle[0] - (x - action.x) / this.scale, this.middle[1] + (y - action.y) / this.scale];
        [action.x, action.y] = [x, y];
        this.redraw();
      } else if (action.kind === "move" && (action.moved || Math.hypot(x - action.x, y - action.y) > 3)) {
        action.moved = true; // a tap selects the point itself, not a place beside it
        events.move(this.toPlane(x + action.grip[0], y + action.grip[1]));
      }
    });
    const end = (event) => {
      fingers.delete(event.pointerId);
      action = null;
      canvas.classList.remove("dragging");
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("pointerleave", () => events.hover(-1));
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        this.zoom(Math.exp(-event.deltaY * 0.0015), ...place(event));
      },
      { passive: false },
    );
  }
}

// 1, 2 or 5 times a power of ten, at least `least`.
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least * 0.999);
}
