/** Why it takes so long: queues by class, what is in flight, batches, cache, key-value memory. */
import { byId, make } from './dom.js'
import { Plot } from './plot.js'
import { movingSum } from './store.js'
import { number, percent } from './words.js'

const COLOURS = ['c1', 'c2', 'c3', 'c4', 'c5', 'c6', 'c7']
const SPAN_S = 10
/** What a cache did, with what it counts as. */
const CACHE = [['hit', 'hit', 'c3'], ['join', 'joined', 'c1'], ['stale', 'served stale', 'c2'], ['miss', 'miss', 'c6']]

const rest = (name) => name.split('|').slice(1)

export function lanes(store) {
  let shape = ''
  let plots = []

  /** Which series there are decides which charts there are. */
  function build() {
    const names = [...store.places.keys()]
    const next = names.filter((name) => /^(queue|lane|batch|cache|kv)\|/.test(name)).join('\n')
    if (next === shape) return
    shape = next
    for (const plot of plots) plot.remove()
    byId('lanes').replaceChildren()
    const coloured = (list, label) => list.map((name, i) => ({ label: label(rest(name)), colour: COLOURS[i % COLOURS.length], of: (st, from) => st.column(name, from) }))
    const starting = (prefix) => names.filter((name) => name.startsWith(prefix))
    const backends = starting('lane|inFlight|').map((name) => name.slice(14))
    plots = [
      new Plot({ title: 'Waiting, by class', empty: 'Nobody waits', hint: 'calls in the lanes’ queues', format: number, series: coloured(starting('queue|'), ([name, backend]) => (backends.length > 1 ? `${name} at ${backend}` : name)).map(onlySeen) }),
      new Plot({
        title: 'In flight',
        hint: 'dashed: the limit',
        format: number,
        series: backends.flatMap((backend, i) => [
          { label: backend, colour: COLOURS[i % COLOURS.length], width: 2, of: (st, from) => st.column(`lane|inFlight|${backend}`, from) },
          { label: `${backend}, limit`, colour: COLOURS[i % COLOURS.length], dash: [5, 4], width: 1, step: true, of: nearLimit(backend) },
        ]),
      }),
    ]
    if (starting('batch|').length > 0) plots.push(new Plot({ title: 'Batch sizes', empty: 'No batches in this time', hint: 'mean and largest of 5 s', format: number, series: coloured(starting('batch|'), ([kind, backend]) => `${backend}, ${kind}`).map(onlySeen) }))
    if (starting('cache|').length > 0) {
      plots.push(
        new Plot({
          title: 'Cache',
          empty: 'No cacheable calls in this time',
          hint: 'share of cacheable calls, over 10 s',
          format: percent,
          top: 1,
          series: CACHE.map(([fact, label, colour]) => ({ label, colour, width: fact === 'hit' ? 2.25 : 1.75, of: cacheShare(fact) })),
        }),
      )
    }
    if (starting('kv|').length > 0) plots.push(new Plot({ title: 'Key-value memory in use', empty: 'No backend tells', format: percent, top: 1, series: coloured(starting('kv|'), ([backend]) => backend) }))
    byId('lanes').append(...plots.map((plot) => make('div', { class: 'card' }, plot.element)))
  }

  return {
    draw(seconds) {
      build()
      for (const plot of plots) plot.update(store, seconds)
    },
    reset() {
      shape = ''
    },
  }
}

/** A series that was 0 all along only lengthens the legend. */
function onlySeen(series) {
  return {
    ...series,
    of(store, from) {
      const column = series.of(store, from)
      return column.some((value) => value !== null && value > 0) ? column : column.map(() => null)
    },
  }
}

/** Drawn while it is within reach of what is in flight. */
function nearLimit(backend) {
  return (store, from) => {
    const inFlight = store.column(`lane|inFlight|${backend}`, from)
    const top = Math.max(1, ...inFlight.filter((value) => value !== null))
    return store.column(`lane|limit|${backend}`, from).map((limit) => (limit !== null && limit <= top * 4 ? limit : null))
  }
}

function cacheShare(fact) {
  return (store, from) => {
    const start = Math.max(0, from - SPAN_S)
    const sums = CACHE.map(([one]) => movingSum(store.column(`cache|${one}`, start), SPAN_S))
    const at = CACHE.findIndex(([one]) => one === fact)
    return sums[0].map((_, i) => {
      const total = sums.reduce((sum, column) => sum + column[i], 0)
      return total === 0 ? null : sums[at][i] / total
    }).slice(from - start)
  }
}
