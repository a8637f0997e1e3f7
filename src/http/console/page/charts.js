/** What users get: attainment, goodput, the three latencies. */
import { byId, make } from './dom.js'
import { Plot } from './plot.js'
import { duration, number, percent } from './words.js'

const NO_CALLS = 'No calls in this time'
const NO_TOKENS = 'No tokens in this time'

const share = (part, group) => (store, from) => store.share(part, group(), from)
const perSecond = (part, group) => (store, from) => store.perS(part, group(), from)

export function charts(store) {
  const select = byId('group')
  const group = () => select.value || 'all'
  /** The promise of the class that is shown, or of the most urgent one. */
  const slo = () => {
    const classes = [...store.meta.classes].sort((a, b) => a.priority - b.priority)
    return classes.find(({ name }) => group() === `class=${name}`) ?? classes[0] ?? {}
  }
  const level = (value) => (st, from) => st.times.slice(from).map(() => value() ?? null)
  const latency = (metric, title, promise, empty = NO_CALLS) =>
    new Plot({
      title,
      format: duration,
      empty,
      series: [
        { label: 'p50', colour: 'c3', of: (st, from) => st.column(`latency|${metric}|p50|${group()}`, from) },
        { label: 'p95', colour: 'c1', width: 2.25, of: (st, from) => st.column(`latency|${metric}|p95|${group()}`, from) },
        { label: 'p99', colour: 'c4', width: 1, of: (st, from) => st.column(`latency|${metric}|p99|${group()}`, from) },
        { label: 'promised', colour: 'c7', dash: [6, 4], width: 1.25, level: true, of: level(promise) },
      ],
    })

  const plots = [
    new Plot({
      title: 'SLO attainment',
      hint: 'share of offered calls, over 10 s',
      format: percent,
      empty: NO_CALLS,
      top: 1,
      series: [
        { label: 'met', colour: 'c1', width: 2.25, fill: true, of: share('met', group) },
        { label: 'promised', colour: 'c7', dash: [6, 4], width: 1.25, level: true, of: level(() => slo().quantile) },
      ],
    }),
    new Plot({
      title: 'Goodput',
      hint: 'calls per second, over 10 s',
      format: (value) => (value === null ? '–' : `${number(value)} /s`),
      series: [
        { label: 'offered', colour: 'c6', of: perSecond('offered', group) },
        { label: 'in time', colour: 'c3', width: 2.25, fill: true, of: perSecond('met', group) },
        { label: 'turned away', colour: 'c2', of: perSecond('shed', group) },
        { label: 'failed', colour: 'c7', of: perSecond('failed', group) },
      ],
    }),
    latency('start', 'Time to start', () => slo().startMs),
    latency('ttft', 'Time to first token', () => slo().ttftMs, NO_TOKENS),
    latency('itl', 'Time between tokens', () => slo().itlMs, NO_TOKENS),
    latency('e2e', 'Whole call', () => slo().e2eMs),
  ]
  byId('users').append(...plots.map((plot) => make('div', { class: 'card' }, plot.element)))

  return {
    draw(seconds) {
      offerGroups(store, select)
      for (const plot of plots) plot.update(store, seconds)
    },
  }
}

const groupName = (group) => (group === 'all' ? 'all calls' : group.startsWith('class=') ? `class ${group.slice(6)}` : `backend ${group.slice(8)}`)

function offerGroups(store, select) {
  const groups = store.groups()
  if (groups.length === select.options.length) return
  const chosen = select.value || 'all'
  select.replaceChildren(...groups.map((group) => make('option', { value: group, text: groupName(group) })))
  select.value = groups.includes(chosen) ? chosen : 'all'
}
