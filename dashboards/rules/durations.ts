/** Durations of rules, all of which a test can scale down. */
const SECONDS = { s: 1, m: 60, h: 3_600, d: 86_400 } as const

/** `1h` scaled, as Prometheus writes it; never under `leastS` seconds, so that a window still holds samples. */
export function scaled(duration: string, scale: number, leastS = 1): string {
  const [, amount, unit] = /^(\d+)([smhd])$/.exec(duration) ?? []
  if (amount === undefined || unit === undefined) throw new TypeError(`expected a duration like 5m, got ${duration}`)
  if (scale === 1) return duration
  return `${Math.max(leastS * 1_000, Math.round((Number(amount) * SECONDS[unit as keyof typeof SECONDS] * 1_000) / scale))}ms`
}
