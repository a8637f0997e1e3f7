/** Numbers and reasons in words. */

/** Four digits at most, thousands apart. */
export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return '–'
  const size = Math.abs(value)
  if (size >= 1e6) return `${trimmed((value / 1e6).toPrecision(3))} M`
  if (size >= 1_000) return Math.round(value).toLocaleString('en').replaceAll(',', '\u202f')
  if (size >= 100 || Number.isInteger(value)) return String(Math.round(value))
  if (size >= 10) return trimmed(value.toFixed(1))
  return size >= 0.00001 || size === 0 ? trimmed(value.toPrecision(2)) : value.toExponential(1)
}

const trimmed = (text) => (text.includes('.') ? text.replace(/\.?0+$/, '') : text)

/** Milliseconds, as people say them. */
export function duration(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return '–'
  const size = Math.abs(ms)
  if (size === 0) return '0'
  if (size < 1_000) return `${number(ms)} ms`
  if (size < 60_000) return `${trimmed((ms / 1_000).toPrecision(3))} s`
  if (size < 7_200_000) return `${trimmed((ms / 60_000).toPrecision(2))} min`
  if (size < 172_800_000) return `${trimmed((ms / 3_600_000).toPrecision(2))} h`
  return `${number(Math.round(ms / 86_400_000))} d`
}

export function percent(share) {
  if (share === null || share === undefined || Number.isNaN(share)) return '–'
  const value = share * 100
  return `${value >= 90 && value < 100 ? trimmed((Math.floor(value * 10 + 1e-9) / 10).toFixed(1)) : value > 0 && value < 10 ? trimmed(value.toFixed(1)) : Math.round(value)}\u202f%`
}

/** Units as declared (`ms`, `s`, `{call}`, `1`), in the way they are read. */
export function withUnit(value, unit) {
  if (unit === 'ms') return duration(value)
  if (unit === 's') return value === null || value === undefined ? '–' : duration(value * 1_000)
  if (unit === '1' || !unit) return number(value)
  const name = unit.replaceAll(/[{}]/g, '')
  return `${number(value)} ${/^\{.+\}$/.test(unit) && value !== 1 ? plural(name) : name}`
}

/** `100 ms to 7 d`, `1 to 10 000`. */
export function boundsText({ min, max, unit }) {
  const plain = unit === 'ms' || unit === 's' ? unit : '1'
  return `${withUnit(min, plain)} to ${withUnit(max, plain)}`
}

const plural = (name) => (/(s|x|ch|sh)$/.test(name) ? `${name}es` : `${name}s`)

/** Names of a decision's numbers carry their unit: `p95Ms`, `perS`. */
export function numberCalled(name, value) {
  if (value === null) return '–'
  if (/Ms$/.test(name)) return duration(value)
  if (/PerS$|^perS$/.test(name)) return `${number(value)} /s`
  if (/S$/.test(name) && /[a-z]S$/.test(name)) return duration(value * 1_000)
  if (/^(attainment|stale|budget|headroom|rejects)/.test(name)) return percent(value)
  return number(value)
}

/** Names that say too little by themselves. */
const LABELS = { atMs: 'latency', perS: 'rate', upperPerS: 'rate, at most', staleUpper: 'stale share, at most', wantedS: 'TTL wanted' }

/** `p95Ms` → p95, `workPerCall` → work per call. */
export const numberLabel = (name) => (LABELS[name] ?? name.replace(/PerS$/, 'Rate').replace(/(Ms|S)$/, '').replaceAll(/([a-z0-9])([A-Z])/g, (_, a, b) => `${a} ${b.toLowerCase()}`))

/** The closed set of reasons: short, and as a sentence. */
const REASONS = {
  learning: ['learning', 'It has not seen enough yet to decide again.'],
  steady: ['steady', 'What it watches is close enough to its target.'],
  slo_headroom: ['room to spare', 'Calls are faster than promised: there is room for more.'],
  slo_exceeded: ['SLO exceeded', 'Calls take longer than promised.'],
  upstream_rejects: ['upstream rejects', 'The backend turned calls away.'],
  demand_above_limit: ['demand above limit', 'More is asked for than the present value lets through.'],
  app_limited: ['not enough demand', 'Too little comes in to learn anything from a change.'],
  work_conserving: ['work conserving', 'More gets done this way at no cost to latency.'],
  curve_changed: ['backend changed', 'The backend’s speed is not what it was.'],
  stale_budget_exceeded: ['too many stale answers', 'More answers than allowed would be out of date.'],
  stale_budget_spare: ['stale budget to spare', 'Fewer answers than allowed are out of date: they can be kept longer.'],
  not_worth_it: ['not worth it', 'It cost more than it brought.'],
  utilisation_high: ['utilisation high', 'The backend is fuller than it should be.'],
  utilisation_low: ['utilisation low', 'The backend has room.'],
  memory_envelope: ['memory', 'More would not fit the backend’s memory.'],
  probe: ['probe', 'A small step, to see what it brings.'],
  revert: ['taken back', 'The move before made things worse.'],
  signals_stale: ['blind', 'Nothing was measured although there is demand.'],
  signals_back: ['sees again', 'Measurements are back.'],
  operator: ['operator', 'Somebody asked for it.'],
  custom: ['own reason', 'The controller has a reason of its own.'],
}
export const reasonShort = (reason) => REASONS[reason]?.[0] ?? reason
export const reasonLong = (reason) => REASONS[reason]?.[1] ?? reason

const BOUNDS = { min: 'its lower bound', max: 'its upper bound', max_up: 'the largest step up', max_down: 'the largest step down' }
export const boundName = (bound) => BOUNDS[bound] ?? bound

const MODES = { learn: ['learning', '○'], active: ['active', '●'], hold: ['holding: blind', '◐'], fallback: ['fallback: blind', '▼'] }
export const modeName = (mode) => MODES[mode]?.[0] ?? mode
export const modeSign = (mode) => MODES[mode]?.[1] ?? '?'

const VERDICTS = { better: ['better', '▲'], same: ['no difference', '='], worse: ['worse', '▼'], unknown: ['too few calls to tell', '?'] }
export const verdictName = (verdict) => VERDICTS[verdict]?.[0] ?? verdict
export const verdictSign = (verdict) => VERDICTS[verdict]?.[1] ?? '?'

/** `throttle.limit` → limit; `batching.max_batch` → max batch. */
export const knobShort = (name) => name.slice(name.indexOf('.') + 1).replaceAll('_', ' ').replace(/ (ms|s)$/, '')
/** `backend=shop-desk,class=faq` → shop-desk, faq. */
export const scopeShort = (key) => key.split(',').map((part) => part.slice(part.indexOf('=') + 1)).join(', ')
export const scopeOf = (id) => id.slice(id.indexOf('{') + 1, -1)

export function ago(ms) {
  const seconds = Math.max(0, Math.round(ms / 1_000))
  return seconds < 60 ? `${seconds} s ago` : seconds < 7_200 ? `${Math.round(seconds / 60)} min ago` : `${Math.round(seconds / 3_600)} h ago`
}

export const clockTime = (wallMs) => new Date(wallMs).toLocaleTimeString('en-GB')
