/** Service classes as a command line has them: `interactive:ttft=1000,itl=50,quantile=.95;batch:start=5000`. */
import type { SloClass } from '../core/slo.ts'

const NAMES = { start: 'startMs', ttft: 'ttftMs', itl: 'itlMs', e2e: 'e2eMs', quantile: 'quantile', priority: 'priority' } as const

/** The first listed is the most urgent, unless priorities are given. Throws a TypeError that names what is wrong. */
export function parseSlo(text: string): SloClass[] {
  return text.split(';').filter((part) => part.trim() !== '').map((part, i) => {
    const [name = '', targets = ''] = part.trim().split(':')
    if (!/^[\w-]+$/.test(name)) throw new TypeError(`slo: expected a class name before ":", got ${JSON.stringify(name)}`)
    const slo: Record<string, number | string> = { name, priority: i * 10, quantile: 0.95 }
    for (const target of targets.split(',').filter((one) => one.trim() !== '')) {
      const [key = '', value = ''] = target.trim().split('=')
      const field = NAMES[key as keyof typeof NAMES]
      if (!field) throw new TypeError(`slo ${name}: expected one of ${Object.keys(NAMES).join(', ')}, got ${JSON.stringify(key)}`)
      const number = Number(value)
      if (value === '' || !Number.isFinite(number) || number < 0 || (field === 'quantile' && !(number > 0 && number < 1))) throw new TypeError(`slo ${name}: expected ${key} to be ${field === 'quantile' ? 'between 0 and 1' : 'a number of at least 0'}, got ${JSON.stringify(value)}`)
      slo[field] = number
    }
    return slo as unknown as SloClass
  })
}
