/**
 * The operations of a Llama forward pass, plain: the oracle for the native kernels. Vectors and matrices are 32-bit
 * floats; sums are taken in double precision, so the result is the best that 32-bit values allow.
 */

/** out[i] = x[i] / rms(x) × weight[i] */
export function rmsNorm(out: Float32Array, x: Float32Array, weight: Float32Array, epsilon: number): void {
  const length = x.length
  let squares = 0
  for (let i = 0; i < length; i++) squares += (x[i] as number) * (x[i] as number)
  const scale = 1 / Math.sqrt(squares / length + epsilon)
  for (let i = 0; i < length; i++) out[i] = (x[i] as number) * scale * (weight[i] as number)
}

/** out[row] = Σ matrix[row][column] × x[column] + bias[row]; the matrix is row after row, as many as `out` has. */
export function multiply(out: Float32Array, matrix: Float32Array, x: Float32Array, bias?: Float32Array): void {
  for (let row = 0; row < out.length; row++) {
    const sum = dot(x, 0, matrix, row * x.length, x.length)
    out[row] = bias === undefined ? sum : sum + (bias[row] as number)
  }
}

/** In place, over the first `length` values. */
export function softmax(x: Float32Array, length: number = x.length): void {
  let largest = -Infinity
  for (let i = 0; i < length; i++) if ((x[i] as number) > largest) largest = x[i] as number
  let sum = 0
  for (let i = 0; i < length; i++) {
    const value = Math.exp((x[i] as number) - largest)
    x[i] = value
    sum += value
  }
  const scale = 1 / sum
  for (let i = 0; i < length; i++) x[i] = (x[i] as number) * scale
}

/**
 * Turns the leading pairs of every head by the position's angles, in place.
 * @param heads [heads × headDim]
 * @param cosines sines: [pairs], for this position
 * @param adjacent the pairs are (0,1), (2,3)…; else (0,n/2), (1,n/2+1)…
 */
export function rotate(heads: Float32Array, headDim: number, cosines: Float32Array, sines: Float32Array, adjacent: boolean): void {
  const pairs = cosines.length
  const step = adjacent ? 2 : 1
  const apart = adjacent ? 1 : pairs
  for (let head = 0; head < heads.length; head += headDim) {
    for (let pair = 0, at = head; pair < pairs; pair++, at += step) {
      const x = heads[at] as number
      const y = heads[at + apart] as number
      const cosine = cosines[pair] as number
      const sine = sines[pair] as number
      heads[at] = x * cosine - y * sine
      heads[at + apart] = x * sine + y * cosine
    }
  }
}

/** x × sigmoid(x) × up, into x. */
export function siluTimes(x: Float32Array, up: Float32Array): void {
  for (let i = 0; i < x.length; i++) {
    const value = x[i] as number
    x[i] = (value / (1 + Math.exp(-value))) * (up[i] as number)
  }
}

export function add(x: Float32Array, y: Float32Array): void {
  for (let i = 0; i < x.length; i++) x[i] = (x[i] as number) + (y[i] as number)
}

/** Σ x[xAt + i] × y[yAt + i]; four sums, since independent additions overlap in the processor. */
function dot(x: Float32Array, xAt: number, y: Float32Array, yAt: number, length: number): number {
  let a = 0
  let b = 0
  let c = 0
  let d = 0
  let i = 0
  for (const whole = length - (length % 4); i < whole; i += 4) {
    a += (x[xAt + i] as number) * (y[yAt + i] as number)
    b += (x[xAt + i + 1] as number) * (y[yAt + i + 1] as number)
    c += (x[xAt + i + 2] as number) * (y[yAt + i + 2] as number)
    d += (x[xAt + i + 3] as number) * (y[yAt + i + 3] as number)
  }
  for (; i < length; i++) a += (x[xAt + i] as number) * (y[yAt + i] as number)
  return a + b + (c + d)
}

export interface AttentionShape {
  readonly headCount: number
  readonly headCountKv: number
  readonly headDim: number
}

/**
 * One query position over the positions before it and itself. Position j is in sight when j > position - window or
 * j < sinks.
 * @param out query: [headCount × headDim]
 * @param keys values: [positions][headCountKv × headDim]
 * @param scores scratch of at least position + 1
 */
export function attend(
  out: Float32Array,
  query: Float32Array,
  keys: Float32Array,
  values: Float32Array,
  { headCount, headCountKv, headDim }: AttentionShape,
  position: number,
  window: number,
  sinks: number,
  scores: Float32Array,
): void {
  const first = Math.max(0, position - window + 1)
  const kept = Math.min(first, sinks)
  const inSight = kept + (position - first + 1)
  const perKv = headCount / headCountKv
  const rowLength = headCountKv * headDim
  const scale = 1 / Math.sqrt(headDim)
  for (let head = 0; head < headCount; head++) {
    const queryAt = head * headDim
    const kvAt = Math.floor(head / perKv) * headDim
    for (let slot = 0; slot < inSight; slot++) {
      const keyAt = (slot < kept ? slot : first + slot - kept) * rowLength + kvAt
      scores[slot] = dot(query, queryAt, keys, keyAt, headDim) * scale
    }
    softmax(scores, inSight)
    out.fill(0, queryAt, queryAt + headDim)
    for (let slot = 0; slot < inSight; slot++) {
      const valueAt = (slot < kept ? slot : first + slot - kept) * rowLength + kvAt
      const weight = scores[slot] as number
      for (let i = 0; i < headDim; i++) out[queryAt + i] = (out[queryAt + i] as number) + weight * (values[valueAt + i] as number)
    }
  }
}

/**
 * As `attend`, with the numerics of llama.cpp's default attention: keys, values and query in half precision, one pass
 * with a running maximum, and a half-precision sum of values. Greedy outputs then agree with llama.cpp's in near ties.
 * @param query rounded in place
 */
export function attendHalf(
  out: Float32Array,
  query: Float32Array,
  keys: Float32Array,
  values: Float32Array,
  { headCount, headCountKv, headDim }: AttentionShape,
  position: number,
  window: number,
  sinks: number,
): void {
  const first = Math.max(0, position - window + 1)
  const kept = Math.min(first, sinks)
  const inSight = kept + (position - first + 1)
  const perKv = headCount / headCountKv
  const rowLength = headCountKv * headDim
  const scale = 1 / Math.sqrt(headDim)
  roundToHalf(query)
  out.fill(0)
  for (let head = 0; head < headCount; head++) {
    const at = head * headDim
    const kvAt = Math.floor(head / perKv) * headDim
    let largest = -Infinity
    let sum = 0
    for (let slot = 0; slot < inSight; slot++) {
      const row = (slot < kept ? slot : first + slot - kept) * rowLength + kvAt
      const score = dot(query, at, keys, row, headDim) * scale
      let weight = 1
      if (score > largest) {
        const shrink = Math.exp(largest - score)
        largest = score
        sum *= shrink
        for (let i = 0; i < headDim; i++) out[at + i] = toHalf((out[at + i] as number) * shrink)
      } else weight = Math.exp(score - largest)
      for (let i = 0; i < headDim; i++) out[at + i] = toHalf((out[at + i] as number) + weight * (values[row + i] as number))
      sum += weight
    }
    for (let i = 0; i < headDim; i++) out[at + i] = (out[at + i] as number) / sum
  }
}

/** Every value to the nearest half-precision one. */
export function roundToHalf(x: Float32Array): void {
  for (let i = 0; i < x.length; i++) x[i] = toHalf(x[i] as number)
}

const HALF_SMALLEST_NORMAL = 2 ** -14
const HALF_OVERFLOW = 65520
/** Adding and taking away 1.5 × 2^28 leaves a double at multiples of 2^-24, the spacing of half subnormals. */
const SUBNORMAL_ROUNDER = 1.5 * 2 ** 28
/** Veltkamp's splitter: leaves the top 11 of a double's 53 bits. */
const SPLITTER = 2 ** 42 + 1

function toHalf(value: number): number {
  const magnitude = Math.abs(value)
  if (magnitude < HALF_SMALLEST_NORMAL) return value + SUBNORMAL_ROUNDER - SUBNORMAL_ROUNDER
  if (magnitude >= HALF_OVERFLOW) return value > 0 ? Infinity : -Infinity
  const scaled = value * SPLITTER
  return scaled - (scaled - value)
}
