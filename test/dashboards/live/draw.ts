/** A board as SVG, from real query results. Not Grafana's rendering, and it says so; the layout is the board's own. */
import type { BoardJson, PanelJson, Target } from '../../../dashboards/lint.ts'
import { legendText } from './grafana.ts'
import type { SeriesResult } from './prometheus.ts'

export type Results = ReadonlyMap<Target, readonly SeriesResult[]>

const COLUMN = 50
const LINE = 27
const GAP = 8
const COLORS = ['#3b6fd4', '#d9782d', '#2f9e55', '#b5459a', '#8a6d1f', '#2a9da8', '#c23b3b', '#6b6bd6', '#7a8a2f', '#555f6b']
const INK = '#1f2733'
const FAINT = '#8b95a3'

interface Box {
  readonly x: number
  readonly y: number
  readonly w: number
  readonly h: number
}

export function drawBoard(board: BoardJson, results: Results): string {
  const rows = board.panels.filter(({ type }) => type === 'row')
  // Collapsed rows show their title only, as in Grafana.
  const open = board.panels.filter(({ type }) => type !== 'row')
  const times = [...results.values()].flatMap((found) => found.flatMap(({ values }) => (values.length > 1 ? [values[0]?.[0] ?? 0, values.at(-1)?.[0] ?? 0] : [])))
  const span: Span = [Math.min(...times), Math.max(...times)]
  const bottom = Math.max(...board.panels.map(({ gridPos }) => gridPos.y + gridPos.h), 1)
  const height = bottom * LINE + 58
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${24 * COLUMN}" height="${height}" viewBox="0 0 ${24 * COLUMN} ${height}" font-family="system-ui,sans-serif" font-size="11">`,
    `<rect width="100%" height="100%" fill="#f4f5f7"/>`,
    text(10, 24, board.title, 16, INK, 'font-weight="600"'),
    text(24 * COLUMN - 10, 24, 'drawn from query results of a test run; not Grafana’s own rendering', 11, FAINT, 'text-anchor="end"'),
  ]
  for (const { title = '', gridPos, collapsed } of rows) parts.push(text(10, gridPos.y * LINE + 54, `${collapsed ? '▸' : '▾'} ${title}`, 12, INK, 'font-weight="600"'))
  for (const panel of open) {
    const { x, y, w, h } = panel.gridPos
    const box = { x: x * COLUMN + GAP / 2, y: y * LINE + 36, w: w * COLUMN - GAP, h: h * LINE - GAP }
    parts.push(`<rect x="${box.x}" y="${box.y}" width="${box.w}" height="${box.h}" fill="#fff" stroke="#dfe3e8" rx="3"/>`, text(box.x + 8, box.y + 16, cut(panel.title ?? '', box.w / 6.5), 12, INK))
    parts.push(...drawPanel(panel, { x: box.x + 8, y: box.y + 24, w: box.w - 16, h: box.h - 32 }, results, span))
  }
  return `${parts.join('\n')}\n</svg>\n`
}

type Span = readonly [number, number]

function drawPanel(panel: PanelJson, box: Box, results: Results, span: Span): string[] {
  const found = (panel.targets ?? []).flatMap((target) => (results.get(target) ?? []).map((series) => ({ target, series })))
  if (found.length === 0) return [text(box.x + box.w / 2, box.y + box.h / 2, panel.fieldConfig?.defaults?.noValue ?? '', 12, FAINT, 'text-anchor="middle"')]
  const unit = panel.fieldConfig?.defaults?.unit ?? 'none'
  switch (panel.type) {
    case 'stat':
      return found.slice(0, 3).map(({ target, series }, i, all) => {
        const at = box.x + (box.w * (i + 0.5)) / all.length
        const name = target.legendFormat?.includes('{{') ? legendText(target.legendFormat, series.metric) : ''
        return text(at, box.y + box.h / 2 + 8, shown(series.values.at(-1)?.[1] ?? Number.NaN, unit), 22, INK, 'text-anchor="middle"') + text(at, box.y + box.h - 2, name, 10, FAINT, 'text-anchor="middle"')
      })
    case 'table':
      return drawTable(panel, box, results)
    case 'state-timeline':
      return drawStates(panel, found, box, span)
    case 'heatmap':
      return drawHeat(found.map(({ series }) => series), box)
    default:
      return drawLines(panel, found, box, unit, span)
  }
}

type Found = { readonly target: Target; readonly series: SeriesResult }

/** Overrides by query: dashes and steps as the board has them. */
function styleOf(panel: PanelJson, refId: string): { dash: string; step: boolean } {
  const { overrides = [] } = (panel.fieldConfig ?? {}) as { overrides?: { matcher: { options: string }; properties: { id: string; value: unknown }[] }[] }
  const properties = overrides.find(({ matcher }) => matcher.options === refId)?.properties ?? []
  const line = properties.find(({ id }) => id === 'custom.lineStyle')?.value as { dash?: number[] } | undefined
  return { dash: line?.dash?.join(' ') ?? '', step: properties.some(({ id, value }) => id === 'custom.lineInterpolation' && value === 'stepAfter') }
}

function drawLines(panel: PanelJson, found: readonly Found[], box: Box, unit: string, [first, last]: Span): string[] {
  const plot = { x: box.x + 46, y: box.y + 4, w: box.w - 50, h: box.h - 26 }
  const points = found.flatMap(({ series }) => series.values)
  const values = points.map(([, value]) => value)
  const scaled = ((panel.fieldConfig?.defaults as { custom?: { scaleDistribution?: { type: string } } } | undefined)?.custom?.scaleDistribution?.type ?? 'linear') !== 'linear'
  const bend = (value: number): number => (scaled ? Math.sign(value) * Math.log1p(Math.abs(value)) : value)
  const low = Math.min(0, ...values)
  const high = Math.max(low + 1e-9, ...values)
  const atX = (time: number): number => plot.x + (last === first ? 0.5 : (time - first) / (last - first)) * plot.w
  const atY = (value: number): number => plot.y + plot.h - ((bend(value) - bend(low)) / (bend(high) - bend(low) || 1)) * plot.h
  const parts = [low, scaled ? Math.expm1((bend(low) + bend(high)) / 2) : (low + high) / 2, high].map((value) => `<line x1="${plot.x}" x2="${plot.x + plot.w}" y1="${atY(value).toFixed(1)}" y2="${atY(value).toFixed(1)}" stroke="#eceff2"/>${text(plot.x - 4, atY(value) + 4, shown(value, unit), 10, FAINT, 'text-anchor="end"')}`)
  found.forEach(({ target, series }, i) => {
    const { dash, step } = styleOf(panel, target.refId)
    const path = series.values.map(([time, value], at) => `${at === 0 || time - (series.values[at - 1]?.[0] ?? 0) > 4.5 ? 'M' : step ? `H${atX(time).toFixed(1)}L` : 'L'}${atX(time).toFixed(1)} ${atY(value).toFixed(1)}`).join('')
    parts.push(`<path d="${path}" fill="none" stroke="${COLORS[i % COLORS.length]}" stroke-width="1.5"${dash ? ` stroke-dasharray="${dash}"` : ''}/>`)
  })
  let x = box.x
  for (const [i, { target, series }] of found.entries()) {
    const name = cut(legendText(target.legendFormat ?? '', series.metric), 40)
    const width = name.length * 5.6 + 18
    if (x + width > box.x + box.w) break
    parts.push(`<rect x="${x}" y="${box.y + box.h - 8}" width="9" height="3" fill="${COLORS[i % COLORS.length]}"/>`, text(x + 12, box.y + box.h - 3, name, 10, INK))
    x += width
  }
  return parts
}

function drawStates(panel: PanelJson, found: readonly Found[], box: Box, [first, last]: Span): string[] {
  const states = ((panel.fieldConfig?.defaults as { mappings?: { options: Record<string, { text: string; color: string }> }[] } | undefined)?.mappings?.[0]?.options ?? {})
  const fills: Readonly<Record<string, string>> = { green: '#73bf69', red: '#e0554f', orange: '#ee9a3a', blue: '#5794f2' }
  const rowHeight = Math.min(24, box.h / found.length)
  return found.flatMap(({ target, series }, row) => {
    const y = box.y + row * rowHeight
    const left = box.x + 130
    const width = box.w - 134
    const runs: { from: number; to: number; value: number }[] = []
    for (const [time, value] of series.values) {
      const run = runs.at(-1)
      if (run?.value === value) run.to = time
      else runs.push({ from: time, to: time, value })
    }
    const atX = (time: number): number => left + ((time - first) / (last - first || 1)) * width
    return [
      text(box.x, y + rowHeight / 2 + 4, cut(legendText(target.legendFormat ?? '', series.metric), 22), 10, INK),
      ...runs.map((run, i) => {
        const to = runs[i + 1]?.from ?? run.to
        const state = states[String(run.value)]
        const w = Math.max(2, atX(to) - atX(run.from))
        return `<rect x="${atX(run.from).toFixed(1)}" y="${y + 2}" width="${w.toFixed(1)}" height="${rowHeight - 4}" fill="${fills[state?.color ?? ''] ?? '#c5ccd6'}"/>${w > 40 ? text(atX(run.from) + 6, y + rowHeight / 2 + 4, state?.text ?? String(run.value), 10, '#fff') : ''}`
      }),
    ]
  })
}

function drawHeat(series: readonly SeriesResult[], box: Box): string[] {
  const bounds = [...series].sort((a, b) => edge(a) - edge(b))
  const times = [...new Set(bounds.flatMap(({ values }) => values.map(([time]) => time)))].sort((a, b) => a - b)
  const cell = { w: (box.w - 46) / times.length, h: (box.h - 6) / bounds.length }
  const at = bounds.map(({ values }) => new Map(values))
  const counts = bounds.map((_, i) => times.map((time) => Math.max(0, (at[i]?.get(time) ?? 0) - (i === 0 ? 0 : (at[i - 1]?.get(time) ?? 0)))))
  const most = Math.max(...counts.flat(), 1e-9)
  return counts.flatMap((row, i) => {
    const y = box.y + box.h - 6 - (i + 1) * cell.h
    return [
      i % 3 === 0 ? text(box.x + 42, y + cell.h / 2 + 3, bounds[i]?.metric['le'] ?? '', 9, FAINT, 'text-anchor="end"') : '',
      ...row.map((count, t) => (count > 0 ? `<rect x="${(box.x + 46 + t * cell.w).toFixed(1)}" y="${y.toFixed(1)}" width="${cell.w.toFixed(1)}" height="${cell.h.toFixed(1)}" fill="#d9782d" fill-opacity="${(0.12 + 0.88 * Math.sqrt(count / most)).toFixed(2)}"/>` : '')),
    ]
  })
}

const edge = ({ metric }: SeriesResult): number => (metric['le'] === '+Inf' ? Number.POSITIVE_INFINITY : Number(metric['le']))

function drawTable(panel: PanelJson, box: Box, results: Results): string[] {
  const { renameByName = {}, excludeByName = {} } = ((panel as { transformations?: { id: string; options: { renameByName?: Record<string, string>; excludeByName?: Record<string, boolean> } }[] }).transformations ?? []).find(({ id }) => id === 'organize')?.options ?? {}
  const overrides = ((panel.fieldConfig ?? {}) as { overrides?: { matcher: { options: string }; properties: { id: string; value: unknown }[] }[] }).overrides ?? []
  const rows = new Map<string, Record<string, string>>()
  const targets = panel.targets ?? []
  // As Grafana's merge does: rows are told apart by the labels that all queries have in common.
  const labelSets = targets.map((target) => new Set((results.get(target) ?? []).flatMap(({ metric }) => Object.keys(metric)))).filter(({ size }) => size > 0)
  const common = [...(labelSets[0] ?? [])].filter((label) => labelSets.every((set) => set.has(label)))
  for (const target of targets) {
    for (const { metric, values } of results.get(target) ?? []) {
      const key = common.map((label) => metric[label] ?? '').join('\u0000')
      const row = rows.get(key) ?? {}
      Object.assign(row, metric)
      const raw = targets.length === 1 ? 'Value' : `Value #${target.refId}`
      const title = renameByName[raw] ?? raw
      const properties = overrides.find(({ matcher }) => matcher.options === title)?.properties ?? []
      const mapping = (properties.find(({ id }) => id === 'mappings')?.value as { options: Record<string, { text: string }> }[] | undefined)?.[0]?.options
      const value = values.at(-1)?.[1] ?? Number.NaN
      if (!excludeByName[raw]) row[title] = mapping?.[String(value)]?.text ?? shown(value, String(properties.find(({ id }) => id === 'unit')?.value ?? 'none'))
      rows.set(key, row)
    }
  }
  const columns = [...new Set([...rows.values()].flatMap((row) => Object.keys(row)))]
  const width = box.w / columns.length
  const fit = Math.floor(box.h / 18) - 1
  const line = (cells: readonly string[], y: number, color: string): string[] => cells.map((one, i) => text(box.x + i * width, y, cut(one, width / 6), 10, color))
  return [...line(columns, box.y + 12, FAINT), ...[...rows.values()].slice(0, fit).flatMap((row, i) => line(columns.map((column) => row[column] ?? ''), box.y + 30 + i * 18, INK))]
}

/** A number in its unit, short. */
function shown(value: number, unit: string): string {
  if (!Number.isFinite(value)) return '–'
  const short = (n: number): string => (Math.abs(n) >= 1e6 ? `${trim(n / 1e6)}M` : Math.abs(n) >= 1e4 ? `${trim(n / 1e3)}k` : trim(n))
  if (unit === 'percentunit') return `${trim(value * 100)}%`
  if (unit === 's') return Math.abs(value) < 1 ? `${trim(value * 1e3)} ms` : `${trim(value)} s`
  if (unit === 'ms') return `${trim(value)} ms`
  if (unit === 'bytes') return `${trim(value / 2 ** 20)} MiB`
  if (unit === 'reqps' || unit === 'ops') return `${short(value)}/s`
  if (unit.endsWith('/s')) return `${short(value)} ${unit}`
  if (unit === 'dateTimeFromNow') return `${Math.max(0, Math.round(Date.now() / 1_000 - value / 1_000))} s ago`
  return short(value)
}

const trim = (value: number): string => String(Number(value.toPrecision(3)))
const cut = (one: string, chars: number): string => (one.length > chars ? `${one.slice(0, Math.max(1, Math.floor(chars) - 1))}…` : one)
const escaped = (one: string): string => one.replace(/[&<>]/g, (char) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[char] ?? char)

function text(x: number, y: number, content: string, size: number, color: string, more = ''): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" font-size="${size}" fill="${color}" ${more}>${escaped(content)}</text>`
}
