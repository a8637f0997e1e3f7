/** One chart: uPlot with our colours, a legend of real text, and marks that can be clicked. */
import { make, setText } from './dom.js'
import { colour, fontPx } from './theme.js'

const shared = { live: new Set() }
const HEIGHT_REM = 7.5
/** On a wall of screen the charts grow too: by at most so much, from so many pixels of height on. */
const MOST_GROWN = 1.8
const USUAL_HEIGHT_PX = 1_000
/** A promise further above the curves than this would press them flat; the legend says where it is. */
const NEAR = 4
/** The time axis is never shorter, s. */
const LEAST_S = 60

/** New colours for all charts: canvas does not follow a style sheet. */
export function repaintAll() {
  for (const plot of shared.live) plot.rebuild()
}

/**
 * @typedef {{ label: string, colour: string, of: (store: import('./store.js').Store, from: number) => (number | null)[],
 *   step?: boolean, dash?: number[], width?: number, fill?: boolean, gaps?: boolean,
 *   level?: boolean }} Series `level`: where the others should be; drawn while they are near it, and nothing on its own
 */

export class Plot {
  /**
   * @param {{ title: string, hint?: string, series: Series[], format: (value: number | null) => string, heightRem?: number,
   *   zero?: boolean, top?: number, empty?: string, times?: boolean,
   *   caption?: Node[], legend?: boolean,
   *   marks?: (store: object, fromS: number) => { t: number, seq: number, dry: boolean }[], onMark?: (seq: number) => void }} options
   */
  constructor(options) {
    this.options = options
    this.canvas = make('div', { class: 'canvas', role: 'img', 'aria-label': `Chart over time: ${options.title}. The values of now are in its legend.` })
    this.legend = make('ul', { class: 'legend' })
    /** Said where there is nothing to draw: axes with no curve look like zero. */
    this.empty = make('span', { class: 'empty', text: options.empty ?? 'Nothing yet' })
    this.hint = make('span', { class: 'hint', text: options.hint ?? '' })
    this.title = make('strong', { text: options.title })
    this.caption = make('figcaption', {}, this.title, ...(options.caption ?? []), this.hint)
    this.element = make('figure', { class: 'plot' }, this.caption, make('div', { class: 'stage' }, this.canvas, this.empty), ...(options.legend === false ? [] : [this.legend]))
    this.entries = options.series.map(({ label, colour: name }) => {
      const now = make('span', { class: 'now' })
      const swatch = make('span', { class: 'swatch' })
      swatch.style.background = `var(--${name})`
      const item = make('li', {}, swatch, make('span', { text: label }), now)
      this.legend.append(item)
      return { item, now }
    })
    this.visible = true
    this.data = undefined
    this.marked = []
    this.watcher = new IntersectionObserver((entries) => {
      this.visible = entries.at(-1).isIntersecting
      if (this.visible) this.draw()
    }, { rootMargin: '200px' })
    this.watcher.observe(this.canvas)
    this.sizer = new ResizeObserver(() => {
      const width = Math.floor(this.canvas.clientWidth)
      if (this.chart && width > 0 && width !== this.chart.width) this.chart.setSize({ width, height: this.height })
    })
    this.sizer.observe(this.canvas)
    shared.live.add(this)
  }

  get height() {
    const grown = Math.min(MOST_GROWN, Math.max(1, innerHeight / USUAL_HEIGHT_PX))
    return Math.round((this.options.heightRem ?? HEIGHT_REM) * fontPx() * grown)
  }

  remove() {
    shared.live.delete(this)
    this.watcher.disconnect()
    this.sizer.disconnect()
    this.chart?.destroy()
    this.element.remove()
  }

  rebuild() {
    this.chart?.destroy()
    this.chart = undefined
    this.draw()
  }

  update(store, seconds) {
    const from = store.from(seconds)
    const times = store.times.slice(from)
    // A young process has no past: its first minutes fill the width.
    this.range = [Math.max(store.nowS - seconds, Math.min(store.times[0] ?? 0, store.nowS - LEAST_S)), store.nowS]
    const columns = this.options.series.map((series) => series.of(store, from))
    const curves = columns.filter((_, i) => !this.options.series[i].level)
    const highest = curves.reduce((top, column) => column.reduce((most, value) => (value > most ? value : most), top), Number.NEGATIVE_INFINITY)
    this.isEmpty = curves.every((column) => column.every((value) => value === null))
    this.empty.hidden = !this.isEmpty
    this.data = [times, ...columns.map((column, i) => (this.options.series[i].level && this.options.top === undefined ? column.map((value) => (value !== null && value <= NEAR * highest ? value : null)) : column))]
    /** What the legend says: also of a promise that is out of the picture. */
    this.told = columns
    this.marked = this.options.marks?.(store, this.range[0]) ?? []
    this.options.series.forEach((series, i) => {
      const { item, now } = this.entries[i]
      const column = columns[i]
      item.hidden = column.every((value) => value === null)
      // What is only told now and then stands until it is told again.
      const latest = series.gaps === false ? column.findLast((value) => value !== null) : column.at(-1)
      if (this.hovered === undefined) setText(now, this.options.format(latest ?? null))
    })
    this.draw()
  }

  setTitle(text) {
    setText(this.title, text)
  }

  draw() {
    if (!this.visible || !this.data || !this.element.isConnected) return
    if (this.chart) this.chart.setData(this.data, true)
    else {
      const width = Math.floor(this.canvas.clientWidth)
      if (width > 0) this.chart = new globalThis.uPlot(this.#options(width), this.data, this.canvas)
    }
  }

  #options(width) {
    const { series, format, zero = true, top, times = true, onMark } = this.options
    const font = `${Math.round(fontPx() * 0.78)}px ${getComputedStyle(document.body).fontFamily}`
    const axis = { stroke: colour('muted'), font, grid: { stroke: colour('grid'), width: 1 }, ticks: { show: false } }
    return {
      width,
      height: this.height,
      legend: { show: false },
      padding: [fontPx() * 0.5, fontPx() * 1.5, 0, 0],
      cursor: { sync: { key: 'time' }, drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        x: { time: true, range: () => this.range },
        y: { range: (_, low, high) => yRange(low, high, zero, top) },
      },
      axes: [
        { ...axis, size: fontPx() * (times ? 1.5 : 0.4), gap: 4, space: fontPx() * 5, values: (_, splits) => splits.map((split) => (times ? clock(split) : '')) },
        { ...axis, size: fontPx() * 3.6, gap: 4, space: fontPx() * 1.9, values: (_, splits) => splits.map((value) => (this.isEmpty ? '' : format(value))) },
      ],
      series: [
        {},
        ...series.map(({ colour: name, step, dash, width: lineWidth = 1.75, fill, gaps = true }) => ({
          stroke: colour(name),
          width: lineWidth,
          spanGaps: !gaps,
          points: { show: false },
          ...(dash ? { dash } : {}),
          ...(step ? { paths: globalThis.uPlot.paths.stepped({ align: 1 }) } : {}),
          ...(fill ? { fill: `${colour(name, 0.16)}` } : {}),
        })),
      ],
      hooks: {
        draw: [(chart) => this.#drawMarks(chart)],
        setCursor: [(chart) => this.#hover(chart, onMark)],
        ready: [
          (chart) => {
            if (onMark) chart.over.addEventListener('click', () => {
              const near = this.#markNear(chart, chart.cursor.left)
              if (near) onMark(near.seq)
            })
          },
        ],
      },
    }
  }

  #drawMarks(chart) {
    if (this.marked.length === 0) return
    const { ctx, bbox } = chart
    const size = Math.max(4, fontPx() * 0.3) * devicePixelRatio
    ctx.save()
    ctx.strokeStyle = colour('c2', 0.55)
    ctx.fillStyle = colour('c2')
    ctx.lineWidth = devicePixelRatio
    for (const { t, dry } of this.marked) {
      const x = Math.round(chart.valToPos(t, 'x', true))
      if (x < bbox.left || x > bbox.left + bbox.width) continue
      ctx.setLineDash(dry ? [2, 4] : [])
      ctx.beginPath()
      ctx.moveTo(x, bbox.top)
      ctx.lineTo(x, bbox.top + bbox.height)
      ctx.stroke()
      ctx.beginPath()
      ctx.moveTo(x - size, bbox.top)
      ctx.lineTo(x + size, bbox.top)
      ctx.lineTo(x, bbox.top + size * 1.5)
      ctx.fill()
    }
    ctx.restore()
  }

  #markNear(chart, left) {
    if (left === undefined || left < 0) return undefined
    let best
    let bestPx = fontPx() * 0.8
    for (const mark of this.marked) {
      const px = Math.abs(chart.valToPos(mark.t, 'x') - left)
      if (px <= bestPx) [best, bestPx] = [mark, px]
    }
    return best
  }

  #hover(chart, onMark) {
    if (!this.data) return
    const { idx, left } = chart.cursor
    this.hovered = left !== undefined && left >= 0 && idx !== null ? idx : undefined
    if (onMark) chart.over.classList.toggle('pointing', this.#markNear(chart, left) !== undefined)
    this.options.series.forEach((_, i) => {
      const column = this.told[i]
      setText(this.entries[i].now, this.options.format((this.hovered === undefined ? column.at(-1) : column[this.hovered]) ?? null))
    })
  }
}

function yRange(low, high, zero, top) {
  if (low === null || high === null || low === undefined || high === undefined) return [0, top ?? 1]
  if (top !== undefined) return [zero ? 0 : low, Math.max(top, high)]
  // All zero: half a picture of nothing would look like something.
  if (zero && low === 0 && high === 0) return [0, 1]
  const from = zero ? Math.min(0, low) : low
  const pad = (high - from || Math.abs(high) || 1) * 0.12
  return [zero ? from : from - pad, high + pad]
}

function clock(seconds) {
  const date = new Date(seconds * 1_000)
  const two = (part) => String(part).padStart(2, '0')
  return `${two(date.getHours())}:${two(date.getMinutes())}${date.getSeconds() === 0 ? '' : `:${two(date.getSeconds())}`}`
}
