// The decoder: a list of operations on typed arrays. Images are [channels, height, width], as in PyTorch.
//
// compile(program) allocates every buffer once and returns decode(z, y), whose result is overwritten by the next call.

// Gauss error function, Abramowitz & Stegun 7.1.26: |error| < 1.5e-7.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const polynomial = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return Math.sign(x) * (1 - polynomial * Math.exp(-x * x));
}

const ACTIVATIONS = {
  identity: (x) => x,
  relu: (x) => (x > 0 ? x : 0),
  tanh: Math.tanh,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  softplus: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  elu: (x) => (x > 0 ? x : Math.expm1(x)),
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  silu: (x) => x / (1 + Math.exp(-x)),
  exp: Math.exp,
};

const product = (shape) => shape.reduce((a, b) => a * b, 1);

// Each builder takes an operation (its arrays already read) and the shape of its input, and returns the shape of its
// output and a function run(input, output, y).
const OPERATIONS = {
  // y = W x + b, weight [out, in]
  linear({ weight, bias }, shape) {
    const inputs = product(shape);
    const outputs = weight.length / inputs;
    return [
      [outputs],
      (x, out) => {
        for (let i = 0, k = 0; i < outputs; i++) {
          let a = 0, b = 0, j = 0;
          for (; j + 1 < inputs; j += 2, k += 2) {
            a += weight[k] * x[j];
            b += weight[k + 1] * x[j + 1];
          }
          if (j < inputs) a += weight[k++] * x[j];
          out[i] = a + b + (bias ? bias[i] : 0);
        }
      },
    ];
  },

  // The condition appended to the input, (y - shift) / scale.
  condition({ columns, shift, scale }, shape) {
    const width = product(shape);
    return [
      [width + columns],
      (x, out, y) => {
        out.set(x.subarray(0, width));
        for (let j = 0; j < columns; j++) {
          out[width + j] = (y[j] - (shift ? shift[j] : 0)) / (scale ? scale[j] : 1);
        }
      },
    ];
  },

  // Element by element.
  activation({ name }, shape) {
    const size = product(shape);
    const f = ACTIVATIONS[name];
    return [
      shape,
      (x, out) => {
        for (let i = 0; i < size; i++) out[i] = f(x[i]);
      },
    ];
  },

  // scale x + shift, a number for each channel (or feature). Batch normalisation with running statistics is one.
  affine({ scale, shift }, shape) {
    const size = product(shape);
    const area = shape.length === 3 ? shape[1] * shape[2] : 1;
    return [
      shape,
      (x, out) => {
        for (let i = 0; i < size; i++) {
          const c = Math.floor(i / area);
          out[i] = x[i] * (scale ? scale[c] : 1) + (shift ? shift[c] : 0);
        }
      },
    ];
  },

  // weight [out, in, kernel height, kernel width]
  conv2d({ weight, bias, kernel, stride, padding }, [channels, height, width]) {
    const [kh, kw] = kernel;
    const outHeight = Math.floor((height + 2 * padding[0] - kh) / stride[0]) + 1;
    const outWidth = Math.floor((width + 2 * padding[1] - kw) / stride[1]) + 1;
    const outputs = weight.length / (channels * kh * kw);
    const area = outHeight * outWidth;
    return [
      [outputs, outHeight, outWidth],
      (x, out) => {
        for (let o = 0; o < outputs; o++) {
          out.fill(bias ? bias[o] : 0, o * area, (o + 1) * area);
          for (let c = 0; c < channels; c++) {
            for (let i = 0; i < kh; i++) {
              for (let j = 0; j < kw; j++) {
                const w = weight[((o * channels + c) * kh + i) * kw + j];
                for (let r = 0; r < outHeight; r++) {
                  const row = r * stride[0] - padding[0] + i;
                  if (row < 0 || row >= height) continue;
                  const from = (c * height + row) * width - padding[1] + j;
                  const to = o * area + r * outWidth;
                  for (let q = 0; q < outWidth; q++) {
                    const column = q * stride[1] - padding[1] + j;
                    if (column >= 0 && column < width) out[to + q] += w * x[from + q * stride[1]];
                  }
                }
              }
            }
          }
        }
      },
    ];
  },

  // weight [in, out, kernel height, kernel width]
  conv_transpose2d({ weight, bias, kernel, stride, padding, output_padding: added }, [channels, height, width]) {
    const [kh, kw] = kernel;
    const outHeight = (height - 1) * stride[0] - 2 * padding[0] + kh + added[0];
    const outWidth = (width - 1) * stride[1] - 2 * padding[1] + kw + added[1];
    const outputs = weight.length / (channels * kh * kw);
    const area = outHeight * outWidth;
    return [
      [outputs, outHeight, outWidth],
      (x, out) => {
        for (let o = 0; o < outputs; o++) {
          out.fill(bias ? bias[o] : 0, o * area, (o + 1) * area);
          for (let c = 0; c < channels; c++) {
            for (let i = 0; i < kh; i++) {
              for (let j = 0; j < kw; j++) {
                const w = weight[((c * outputs + o) * kh + i) * kw + j];
                for (let r = 0; r < height; r++) {
                  const row = r * stride[0] - padding[0] + i;
                  if (row < 0 || row >= outHeight) continue;
                  const from = (c * height + r) * width;
                  const to = o * area + row * outWidth - padding[1] + j;
                  for (let q = 0; q < width; q++) {
                    const column = q * stride[1] - padding[1] + j;
                    if (column >= 0 && column < outWidth) out[to + q * stride[1]] += w * x[from + q];
                  }
                }
              }
            }
          }
        }
      },
    ];
  },

  max_pool2d: (operation, shape) => pool(operation, shape, -Infinity, Math.max, () => 1),
  avg_pool2d: (operation, shape) => pool(operation, shape, 0, (a, b) => a + b, (h, w) => 1 / (h * w)),

  upsample({ size: [h, w] }, [channels, height, width]) {
    return [
      [channels, height * h, width * w],
      (x, out) => {
        let k = 0;
        for (let c = 0; c < channels; c++) {
          for (let r = 0; r < height * h; r++) {
            const from = (c * height + Math.floor(r / h)) * width;
            for (let q = 0; q < width * w; q++) out[k++] = x[from + Math.floor(q / w)];
          }
        }
      },
    ];
  },

  flatten: (_, shape) => [[product(shape)], null],
  unflatten: ({ shape }) => [shape, null],

  // [channels, height, width] to values pixel by pixel, the order of the features of X
  channels_last(_, [channels, height, width]) {
    const area = height * width;
    return [
      [channels * area],
      (x, out) => {
        for (let p = 0, k = 0; p < area; p++) for (let c = 0; c < channels; c++) out[k++] = x[c * area + p];
      },
    ];
  },

  softmax(_, shape) {
    const size = product(shape);
    return [
      shape,
      (x, out) => {
        let most = -Infinity, sum = 0;
        for (let i = 0; i < size; i++) most = Math.max(most, x[i]);
        for (let i = 0; i < size; i++) sum += out[i] = Math.exp(x[i] - most);
        for (let i = 0; i < size; i++) out[i] /= sum;
      },
    ];
  },
};

// Windows side by side; what is left over at the end is dropped.
function pool({ size: [h, w] }, [channels, height, width], start, combine, factor) {
  const outHeight = Math.floor(height / h), outWidth = Math.floor(width / w);
  return [
    [channels, outHeight, outWidth],
    (x, out) => {
      let k = 0;
      for (let c = 0; c < channels; c++) {
        for (let r = 0; r < outHeight; r++) {
          for (let q = 0; q < outWidth; q++) {
            let value = start;
            for (let i = 0; i < h; i++) {
              for (let j = 0; j < w; j++) value = combine(value, x[(c * height + r * h + i) * width + q * w + j]);
            }
            out[k++] = value * factor(h, w);
          }
        }
      }
    },
  ];
}

// A function decode(z, y) from a list of operations; `inputs` is the number of latent dimensions.
function compile(operations, inputs) {
  const steps = [];
  let shape = [inputs];
  for (const operation of operations) {
    const build = OPERATIONS[operation.op];
    if (!build) throw new Error(`unknown operation ${operation.op}`);
    const [next, run] = build(operation, shape);
    if (run) steps.push([run, new Float32Array(product(next))]);
    shape = next;
  }
  return (z, y) => {
    let values = z;
    for (const [run, out] of steps) {
      run(values, out, y);
      values = out;
    }
    return values;
  };
}
