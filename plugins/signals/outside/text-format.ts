/**
 * The Prometheus text exposition format, as much of it as reading a few gauges takes. A line that cannot be read is passed
 * over: one bad line of somebody's page must not blind a loop. Help and type lines, timestamps and exemplars are ignored.
 */

/** Series kept of one page, whatever the page holds. */
export const MAX_SERIES = 4_096
const MAX_LABELS = 64

export interface Series {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

const NAME = /[a-zA-Z_:][a-zA-Z0-9_:]*/y
const LABEL = /\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,|(?=\}))/y
const VALUE = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/
const ESCAPES: Readonly<Record<string, string>> = { n: '\n', '\\': '\\', '"': '"' }

/** The series of the wanted names, in the order of the page; the first `MAX_SERIES` of them. */
export function parseMetrics(page: string, wanted: ReadonlySet<string>): Series[] {
  const found: Series[] = []
  for (let start = 0; start < page.length && found.length < MAX_SERIES; ) {
    const newline = page.indexOf('\n', start)
    const end = newline < 0 ? page.length : newline
    const series = parseLine(page.slice(start, end), wanted)
    if (series) found.push(series)
    start = end + 1
  }
  return found
}

function parseLine(line: string, wanted: ReadonlySet<string>): Series | undefined {
  const text = line.trim()
  NAME.lastIndex = 0
  const name = NAME.exec(text)?.[0]
  if (name === undefined || !wanted.has(name)) return undefined
  const labels: Record<string, string> = Object.create(null) as Record<string, string>
  let at = name.length
  while (text[at] === ' ' || text[at] === '\t') at++
  if (text[at] === '{') {
    at++
    for (let count = 0; ; count++) {
      if (count > MAX_LABELS) return undefined
      LABEL.lastIndex = at
      const label = LABEL.exec(text)
      if (!label) break
      labels[label[1] as string] = (label[2] as string).replace(/\\(.)/g, (whole, escaped: string) => ESCAPES[escaped] ?? whole)
      at = LABEL.lastIndex
    }
    while (text[at] === ' ' || text[at] === '\t') at++
    if (text[at] !== '}') return undefined
    at++
  } else if (at === name.length) return undefined
  const value = valueOf(text.slice(at).trim().split(/[ \t]+/, 1)[0] ?? '')
  return value === undefined ? undefined : { name, labels, value }
}

/** `NaN`, `+Inf` and the like are values of the format too. Undefined: not a number at all. */
export function valueOf(text: string): number | undefined {
  if (VALUE.test(text)) return Number(text)
  switch (text.toLowerCase()) {
    case 'nan':
      return Number.NaN
    case 'inf':
    case '+inf':
      return Number.POSITIVE_INFINITY
    case '-inf':
      return Number.NEGATIVE_INFINITY
    default:
      return undefined
  }
}
