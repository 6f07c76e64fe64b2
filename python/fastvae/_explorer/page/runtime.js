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
        multiply(x, weight, 1, outputs, inputs, out);
        if (bias) for (let i = 0; i < outputs; i++) out[i] += bias[i];
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

  // weight [out, in, kernel height, kernel width]: a product with the patches of the image
  conv2d({ weight, bias, kernel, stride, padding }, [channels, height, width]) {
    const [kh, kw] = kernel;
    const outHeight = Math.floor((height + 2 * padding[0] - kh) / stride[0]) + 1;
    const outWidth = Math.floor((width + 2 * padding[1] - kw) / stride[1]) + 1;
    const outputs = weight.length / (channels * kh * kw);
    const pixels = outHeight * outWidth, inner = channels * kh * kw;
    const patches = new Float32Array(pixels * inner); // [pixels, channels, kernel height, kernel width]
    return [
      [outputs, outHeight, outWidth],
      (x, out) => {
        for (let r = 0, p = 0; r < outHeight; r++) {
          for (let q = 0; q < outWidth; q++, p++) {
            const top = r * stride[0] - padding[0], left = q * stride[1] - padding[1];
            let k = p * inner;
            for (let c = 0; c < channels; c++) {
              for (let i = top; i < top + kh; i++) {
                for (let j = left; j < left + kw; j++) {
                  const inside = i >= 0 && i < height && j >= 0 && j < width;
                  patches[k++] = inside ? x[(c * height + i) * width + j] : 0;
                }
              }
            }
          }
        }
        multiply(weight, patches, outputs, pixels, inner, out);
        if (bias) for (let o = 0, k = 0; o < outputs; o++) for (let p = 0; p < pixels; p++) out[k++] += bias[o];
      },
    ];
  },

  // weight [in, out, kernel height, kernel width]: a product with the channels of each pixel, whose results are added
  // to the pixels that a kernel covers
  conv_transpose2d({ weight, bias, kernel, stride, padding, output_padding: added }, [channels, height, width]) {
    const [kh, kw] = kernel;
    const outHeight = (height - 1) * stride[0] - 2 * padding[0] + kh + added[0];
    const outWidth = (width - 1) * stride[1] - 2 * padding[1] + kw + added[1];
    const pixels = height * width, rows = weight.length / channels; // rows: outputs x kernel height x kernel width
    const outputs = rows / (kh * kw), area = outHeight * outWidth;
    const turned = transposed(weight, channels, rows);
    const values = new Float32Array(pixels * channels), products = new Float32Array(rows * pixels);
    return [
      [outputs, outHeight, outWidth],
      (x, out) => {
        multiply(turned, transposed(x, channels, pixels, values), rows, pixels, channels, products);
        for (let o = 0, k = 0; o < outputs; o++) {
          out.fill(bias ? bias[o] : 0, o * area, (o + 1) * area);
          for (let i = -padding[0]; i < kh - padding[0]; i++) {
            for (let j = -padding[1]; j < kw - padding[1]; j++) {
              for (let r = 0; r < height; r++) {
                const row = r * stride[0] + i;
                for (let q = 0; q < width; q++, k++) {
                  const column = q * stride[1] + j;
                  const inside = row >= 0 && row < outHeight && column >= 0 && column < outWidth;
                  if (inside) out[o * area + row * outWidth + column] += products[k];
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

// out [rows, columns] = a [rows, inner] times the transpose of b [columns, inner], four columns at a time.
function multiply(a, b, rows, columns, inner, out) {
  for (let r = 0; r < rows; r++) {
    const start = r * inner;
    let c = 0;
    for (; c + 3 < columns; c += 4) {
      let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
      for (let j = 0, b0 = c * inner, b1 = b0 + inner, b2 = b1 + inner, b3 = b2 + inner; j < inner; j++) {
        const value = a[start + j];
        s0 += value * b[b0 + j];
        s1 += value * b[b1 + j];
        s2 += value * b[b2 + j];
        s3 += value * b[b3 + j];
      }
      const to = r * columns + c;
      out[to] = s0;
      out[to + 1] = s1;
      out[to + 2] = s2;
      out[to + 3] = s3;
    }
    for (; c < columns; c++) {
      let sum = 0;
      for (let j = 0; j < inner; j++) sum += a[start + j] * b[c * inner + j];
      out[r * columns + c] = sum;
    }
  }
}

function transposed(matrix, rows, columns, out = new Float32Array(rows * columns)) {
  for (let r = 0, k = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = matrix[k++];
  return out;
}

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
