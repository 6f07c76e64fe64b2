// Strips of decoded codes, and the queue that fills them while nothing else happens.

// Runs jobs in slices of a few milliseconds, so that the page stays responsive.
class Queue {
  constructor() {
    this.jobs = [];
    this.timer = null;
  }

  // Replace all jobs; they start after `delay` milliseconds.
  restart(jobs, delay) {
    this.jobs = jobs;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.run(), delay);
  }

  run() {
    const end = performance.now() + 10;
    while (this.jobs.length && performance.now() < end) this.jobs.shift()();
    if (this.jobs.length) this.timer = setTimeout(() => this.run(), 0);
  }
}

// Buttons side by side, each with a decoded code.
class Strip {
  constructor(parent, steps, choose) {
    parent.style.setProperty("--steps", steps);
    this.buttons = Array.from({ length: steps }, (_, i) => {
      const button = parent.appendChild(element("button"));
      button.type = "button";
      button.addEventListener("click", () => choose(i));
      return button;
    });
  }

  // Jobs that show `codes` with a name for each; `decode` is called when a job runs.
  jobs(codes, names, decode, view) {
    return this.buttons.map((button, i) => () => {
      button.setAttribute("aria-label", names[i]);
      button.title = names[i];
      button.replaceChildren(view.cell(decode(codes[i])));
    });
  }

  mark(current) {
    this.buttons.forEach((button, i) => button.setAttribute("aria-current", String(i === current)));
  }
}

// n numbers from `low` to `high`.
function spaced(low, high, n) {
  return Array.from({ length: n }, (_, i) => low + ((high - low) * i) / (n - 1));
}

const mixed = (a, b, t) => Float32Array.from(a, (value, j) => value + t * (b[j] - value));
