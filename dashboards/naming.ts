/** What an instrument is called once it is in Prometheus: it depends on the way it took. */
import { prometheusName, type InstrumentSpec } from '../src/telemetry/instrument-spec.ts'

/** `metrics`: scraped from `/metrics`. `otlp`: pushed as OTLP; receivers add unit suffixes. */
export type Naming = 'metrics' | 'otlp'
export const NAMINGS: readonly Naming[] = ['metrics', 'otlp']

/** Unit suffixes that OTLP receivers add (Prometheus 2.47 and later, the collector). Units in braces add none. */
const UNIT_WORDS: Readonly<Record<string, string>> = {
  d: 'days', h: 'hours', min: 'minutes', s: 'seconds', ms: 'milliseconds', us: 'microseconds', ns: 'nanoseconds',
  By: 'bytes', KiBy: 'kibibytes', MiBy: 'mebibytes', GiBy: 'gibibytes', TiBy: 'tibibytes', KBy: 'kilobytes', MBy: 'megabytes', GBy: 'gigabytes', TBy: 'terabytes',
  '%': 'percent', Hz: 'hertz', m: 'meters', g: 'grams', V: 'volts', A: 'amperes', J: 'joules', W: 'watts', Cel: 'celsius', '1': '',
}
const PER_WORDS: Readonly<Record<string, string>> = { s: 'second', m: 'minute', h: 'hour', d: 'day', w: 'week', mo: 'month', y: 'year' }

type Named = Pick<InstrumentSpec, 'name' | 'kind' | 'unit'>

export function metricName(spec: Named, naming: Naming): string {
  return naming === 'metrics' ? prometheusName(spec) : otlpName(spec)
}

function otlpName({ name, kind, unit }: Named): string {
  let words = name.split(/[^a-zA-Z0-9:]+/).filter((word) => word !== '')
  const [main = '', per] = unit.split('/', 2)
  for (const suffix of [unitWord(main, UNIT_WORDS), per === undefined ? '' : perWord(per)]) {
    if (suffix !== '' && !words.includes(suffix)) words.push(suffix)
  }
  if (kind === 'counter') words = [...words.filter((word) => word !== 'total'), 'total']
  if (kind === 'gauge' && unit === '1') words = [...words.filter((word) => word !== 'ratio'), 'ratio']
  const joined = words.join('_')
  return /^\d/.test(joined) ? `_${joined}` : joined
}

function unitWord(unit: string, known: Readonly<Record<string, string>>): string {
  const clean = unit.trim()
  if (clean === '' || /[{}]/.test(clean)) return ''
  return known[clean] ?? clean.replace(/[^a-zA-Z0-9]+/g, '_').replace(/^_+|_+$/g, '')
}

function perWord(unit: string): string {
  const word = unitWord(unit, PER_WORDS)
  return word === '' ? '' : `per_${word}`
}
