/** What Grafana does to a query before it sends it: fills in variables as its Prometheus data source does. */

/** Chosen values by variable; `All` stands for the variable's allValue. */
export type Choice = Readonly<Record<string, 'All' | readonly string[]>>

export interface Shown {
  readonly choice: Choice
  readonly rateInterval: string
  readonly range: string
}

/** As in `label=~"$name"`: each value escaped for a regular expression inside a quoted string, several in a group. */
export function chosenText(value: 'All' | readonly string[]): string {
  if (value === 'All') return '.+'
  const escaped = value.map((one) => one.replace(/\\/g, '\\\\\\\\').replace(/[$^*{}[\]'+?.()|]/g, '\\\\$&').replace(/"/g, '\\"'))
  return escaped.length === 1 ? (escaped[0] as string) : `(${escaped.join('|')})`
}

export function fillIn(expr: string, { choice, rateInterval, range }: Shown): string {
  return expr.replace(/\$(?:(\w+)|\{(\w+)\})/g, (whole, plain?: string, braced?: string) => {
    const name = plain ?? braced ?? ''
    if (name === '__rate_interval') return rateInterval
    if (name === '__range') return range
    const value = choice[name]
    return value === undefined ? whole : chosenText(value)
  })
}

/** Text of a legend for one series. */
export function legendText(format: string, labels: Readonly<Record<string, string>>): string {
  return format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label: string) => labels[label] ?? '')
}
