/** UCUM units of declarations as Grafana's unit ids. */
const UNITS: Readonly<Record<string, string>> = { s: 's', ms: 'ms', us: 'µs', ns: 'ns', By: 'bytes', '1': 'none', '%': 'percent', '1/s': 'ops', '{call}/s': 'reqps', 'By/s': 'Bps' }

export function grafanaUnit(unit: string): string {
  return UNITS[unit] ?? 'short'
}

/** The unit of a counter's rate. */
export function rateUnit(unit: string): string {
  if (unit === 'By') return 'Bps'
  if (unit === 's') return 's'
  return unit === '{call}' ? 'reqps' : 'ops'
}
