/**
 * The least of a few measurements, which stops at the first that is good enough: a shared machine may hold up any one of
 * them, but nothing that takes too long by itself gets below the bound.
 */
export async function quickest(boundMs: number, measureMs: () => Promise<number>, tries = 5): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (let i = 0; i < tries && least >= boundMs; i++) least = Math.min(least, await measureMs())
  return least
}
