// The plane of the map: two directions of the latent space, each a unit vector, or one direction and a fixed spread.

const dot = (a, b, offset = 0) => {
  let sum = 0;
  for (let j = 0; j < a.length; j++) sum += a[j] * b[offset + j];
  return sum;
};

class Projection {
  // `second` is null for a single latent dimension.
  constructor(first, second, simplex) {
    this.first = first;
    this.second = second;
    this.simplex = simplex;
  }

  // Plane coordinates of the code at `offset` in an array of codes; `spread` is the height without a second direction.
  of(codes, offset = 0, spread = 0) {
    return [dot(this.first, codes, offset), this.second ? dot(this.second, codes, offset) : spread];
  }

  // The code nearest to z whose plane coordinates are `target`: z plus a combination of the two directions.
  lift(z, target) {
    const [x, y] = this.of(z);
    const dx = target[0] - x, dy = target[1] - y;
    let a = dx, b = 0;
    if (this.second) {
      const cross = dot(this.first, this.second);
      const rest = 1 - cross * cross;
      if (rest > 1e-6) {
        a = (dx - cross * dy) / rest;
        b = (dy - cross * dx) / rest;
      }
    }
    const moved = Float32Array.from(z, (value, j) => value + a * this.first[j] + (this.second ? b * this.second[j] : 0));
    return this.simplex ? ontoSimplex(moved) : moved;
  }
}

// Shares that are at least 0 and sum to one.
function ontoSimplex(z) {
  let sum = 0;
  for (let j = 0; j < z.length; j++) sum += z[j] = Math.max(z[j], 0);
  for (let j = 0; j < z.length; j++) z[j] = sum > 0 ? z[j] / sum : 1 / z.length;
  return z;
}

// Shares with share j set to `value` and the others scaled.
function withShare(z, j, value) {
  const others = 1 - z[j];
  return Float32Array.from(z, (share, k) => {
    if (k === j) return value;
    return others > 1e-6 ? (share * (1 - value)) / others : (1 - value) / (z.length - 1);
  });
}
