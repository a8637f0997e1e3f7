/** Seeded randomness for simulations and tests: the sfc32 generator (Doty-Humphrey, PractRand), seeded by splitmix32. */

export type Random = () => number

/** Uniform in [0, 1), 32 bits of it; the same seed gives the same sequence on every machine. */
export function seededRandom(seed: number): Random {
  let mix = seed | 0
  const splitmix = (): number => {
    mix = (mix + 0x9e3779b9) | 0
    let z = mix ^ (mix >>> 16)
    z = Math.imul(z, 0x21f0aaad)
    z ^= z >>> 15
    z = Math.imul(z, 0x735a2d97)
    return z ^ (z >>> 15)
  }
  let a = splitmix()
  let b = splitmix()
  let c = splitmix()
  let counter = 1
  const next = (): number => {
    const sum = (((a + b) | 0) + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (((c << 21) | (c >>> 11)) + sum) | 0
    return (sum >>> 0) / 0x1_0000_0000
  }
  // The first outputs still show the seed.
  for (let i = 0; i < 12; i++) next()
  return next
}

/** Exponential with this mean: gaps of a Poisson process. */
export function exponential(random: Random, mean: number): number {
  return -mean * Math.log(1 - random())
}

/** Standard normal, Box-Muller. */
export function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
}
