// Arrays in the page: base64 of little-endian float32, float16, int8 or uint8.

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

// All float16 values by their bits: sign, five bits of exponent, ten of mantissa.
function float16Values(halves) {
  const values = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) {
    const exponent = (halves[i] >> 10) & 31;
    const mantissa = halves[i] & 1023;
    let magnitude = exponent === 0 ? mantissa * 2 ** -24 : (1 + mantissa / 1024) * 2 ** (exponent - 15);
    if (exponent === 31) magnitude = mantissa ? NaN : Infinity;
    values[i] = halves[i] & 0x8000 ? -magnitude : magnitude;
  }
  return values;
}

// {dtype, shape, data, scale}: the values as a typed array. int8 has a scale for each index of the first axis.
function arrayOf(stored) {
  const bytes = bytesOf(stored.data);
  switch (stored.dtype) {
    case "uint8":
      return bytes;
    case "float32":
      return new Float32Array(bytes.buffer);
    case "float16":
      return float16Values(new Uint16Array(bytes.buffer));
    case "int8": {
      const quantized = new Int8Array(bytes.buffer);
      const scale = arrayOf(stored.scale);
      const row = quantized.length / scale.length;
      return Float32Array.from(quantized, (value, i) => value * scale[Math.floor(i / row)]);
    }
    default:
      throw new Error(`unknown type ${stored.dtype}`);
  }
}
