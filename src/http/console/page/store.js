/** What the page knows: half an hour of rows by series, the moves, the slow calls, and the state of this second. */

const KEPT_ROWS = 1_800
/** Shares and rates as curves are over so many seconds, as the quantiles are. */
const SPAN_S = 10
/** Trimmed in pieces: moving every column each second would be waste. */
const TRIM_EVERY = 120
const KEPT_STORIES = 2_000
const KEPT_SLOW_MS = 60_000

export class Store {
  constructor() {
    this.reset()
  }

  reset() {
    /** Seconds since the epoch, as the plots want them. */
    this.times = []
    this.places = new Map()
    this.columns = []
    this.stories = []
    this.bySeq = new Map()
    this.slow = []
    this.meta = { classes: [], controllers: [], knobs: [] }
    this.knobSpecs = new Map()
    this.state = undefined
    this.abilities = { title: 'flyball', changes: false }
    this.dropped = 0
  }

  hello(message) {
    this.reset()
    this.abilities = message.abilities
    this.dropped = message.dropped
    this.#take(message)
    for (const row of message.rows) this.#row(row)
  }

  tick(message) {
    this.#take(message)
    this.#row(message.row)
  }

  #take({ names, meta, stories, outcomes = [], slow = [], state }) {
    names?.list.forEach((name, i) => {
      this.places.set(name, names.from + i)
      this.columns[names.from + i] ??= this.times.map(() => null)
    })
    if (meta) {
      this.meta = meta
      this.knobSpecs = new Map(meta.knobs.map((knob) => [knob.name, knob]))
    }
    for (const story of stories) {
      if (this.bySeq.has(story.seq)) continue
      this.bySeq.set(story.seq, story)
      this.stories.push(story)
    }
    while (this.stories.length > KEPT_STORIES) this.bySeq.delete(this.stories.shift().seq)
    for (const { seq, outcome } of outcomes) {
      const story = this.bySeq.get(seq)
      if (story) story.outcome = outcome
    }
    this.slow.push(...slow)
    this.state = state
  }

  #row([t, ...values]) {
    this.times.push(t / 1_000)
    for (let i = 0; i < this.columns.length; i++) this.columns[i]?.push(values[i] ?? null)
    this.slow = this.slow.filter((call) => call.t > t - KEPT_SLOW_MS)
    if (this.times.length < KEPT_ROWS + TRIM_EVERY) return
    this.times.splice(0, TRIM_EVERY)
    for (const column of this.columns) column?.splice(0, TRIM_EVERY)
  }

  get nowS() {
    return this.times.at(-1) ?? 0
  }

  has(name) {
    return this.places.has(name)
  }

  /** First row of the last `seconds`. */
  from(seconds) {
    const start = this.nowS - seconds
    let low = 0
    let high = this.times.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.times[middle] <= start) low = middle + 1
      else high = middle
    }
    return low
  }

  /** A series from row `from` on; nulls where there is none. */
  column(name, from = 0) {
    const place = this.places.get(name)
    return place === undefined ? this.times.slice(from).map(() => null) : this.columns[place].slice(from)
  }

  latest(name) {
    const place = this.places.get(name)
    return place === undefined ? null : (this.columns[place].at(-1) ?? null)
  }

  /** The value at or just before a moment; null when there is none. */
  at(name, seconds) {
    const place = this.places.get(name)
    const row = this.from(this.nowS - seconds) - 1
    return place === undefined || row < 0 ? null : (this.columns[place][row] ?? null)
  }

  /** Sum over the rows of the last `seconds`. */
  sum(name, seconds, endS = this.nowS) {
    const place = this.places.get(name)
    if (place === undefined) return 0
    const column = this.columns[place]
    let total = 0
    for (let i = this.times.length - 1; i >= 0 && this.times[i] > endS - seconds; i--) if (this.times[i] <= endS) total += column[i] ?? 0
    return total
  }

  /** Share of offered calls that met their SLO in the last `seconds`; null without calls. */
  attainment(group, seconds, endS = this.nowS) {
    const offered = this.sum(`calls|offered|${group}`, seconds, endS)
    return offered === 0 ? null : this.sum(`calls|met|${group}`, seconds, endS) / offered
  }

  /** Share of offered calls, second by second from row `from` on; null where there were none. */
  share(part, group, from) {
    const start = Math.max(0, from - SPAN_S)
    const whole = movingSum(this.column(`calls|offered|${group}`, start), SPAN_S)
    const parts = movingSum(this.column(`calls|${part}|${group}`, start), SPAN_S)
    return whole.map((total, i) => (total === 0 ? null : parts[i] / total)).slice(from - start)
  }

  /** Calls per second, from row `from` on. */
  perS(part, group, from) {
    const start = Math.max(0, from - SPAN_S)
    return movingSum(this.column(`calls|${part}|${group}`, start), SPAN_S).map((total) => total / SPAN_S).slice(from - start)
  }

  /** Groups of calls that have been seen. */
  groups() {
    return [...this.places.keys()].filter((name) => name.startsWith('calls|offered|')).map((name) => name.slice(14))
  }

  storiesOf(loop) {
    return this.stories.filter((story) => story.loop === loop)
  }
}

/** Each value becomes the sum of itself and those of the `span - 1` rows before; nulls count as nothing. */
export function movingSum(values, span) {
  let total = 0
  return values.map((value, i) => {
    total += value ?? 0
    if (i >= span) total -= values[i - span] ?? 0
    return total
  })
}
