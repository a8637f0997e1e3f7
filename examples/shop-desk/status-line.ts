/** One line a second on what the governor sees, and a line for each move with its reason. */
import type { Call, DecisionRecord, Governor } from '../../src/index.ts'
import { sloMet } from '../../src/index.ts'

export interface StatusLine {
  /** The second that has just ended, as one line. */
  line(label: string): string
  stop(): void
}

export function statusLine(governor: Governor, print: (line: string) => void): StatusLine {
  let offered = 0
  let good = 0
  let shed = 0
  let hits = 0
  const stops = [
    governor.onCallSettled((call: Call) => {
      offered++
      const { settlement } = call
      if (settlement && sloMet(call, settlement)) good++
      if (settlement?.outcome === 'shed' || settlement?.outcome === 'expired') shed++
      const cache = call.facts.get('cache')
      if (cache === 'hit' || cache === 'stale' || cache === 'join') hits++
    }),
    governor.decisions.onDecision((record) => moveLines(record).forEach(print)),
  ]
  const knobs = (name: string): string =>
    governor.knobs.has(name)
      ? [...governor.knobs.get(name).instances()].map((instance) => `${Object.values(instance.scope).join('/') || 'all'}:${short(instance.value)}`).join(' ')
      : '-'
  return {
    line(label) {
      const lanes = governor.backendStates()
      const inFlight = lanes.map((lane) => `${lane.name}:${lane.inFlight}${lane.waiting ? `+${lane.waiting}` : ''}`).join(' ')
      const batch = governor.signals.get('lane.batch_size').for({ backend: 'intent' }).read({ windowMs: 1_000 })
      const text = `${label.padEnd(14)} good ${String(good).padStart(3)}/${String(offered).padEnd(3)} shed ${String(shed).padEnd(3)} hits ${String(hits).padEnd(3)} in-flight ${inFlight.padEnd(28)} batch ${short(batch.value ?? 0).padEnd(4)} limit ${knobs('throttle.limit')}  ttl ${knobs('cache.ttl_s')}`
      offered = good = shed = hits = 0
      return text
    },
    stop: () => stops.forEach((stop) => stop()),
  }
}

const short = (value: number): string => (Number.isInteger(value) ? String(value) : value.toPrecision(3))

/** `→ throttle: limit{backend=shop-desk} 16 → 12, slo_exceeded (p95Ms 61, targetMs 50)` */
export function moveLines(record: DecisionRecord): string[] {
  const numbers = Object.entries(record.why.numbers).map(([name, value]) => `${name} ${short(value)}`).join(', ')
  const why = `${record.why.reason}${numbers ? ` (${numbers})` : ''}`
  if (record.moves.length === 0) return [`  → ${record.controller}${record.scope.backend ? `{${record.scope.backend}}` : ''}: ${record.mode}, ${why}`]
  return record.moves.map((move) => `  → ${record.controller}: ${move.knob}${move.key ? `{${move.key}}` : ''} ${short(move.from)} → ${short(move.to)}, ${why}${move.bound ? `, held by ${move.bound}` : ''}`)
}
