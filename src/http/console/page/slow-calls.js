/** A waterfall of the slowest calls: where each one's time went. */
import { byId, make, reconcile, setText } from './dom.js'
import { ago, duration, number } from './words.js'

const SHOWN = 12
const EACH = 5
const STAGES = [
  ['beforeHandlerMs', 'before our handler', 'c6'],
  ['gatewayMs', 'gateway', 'c5'],
  ['queueMs', 'queue', 'c2'],
  ['batchWaitMs', 'wait for the batch', 'c4'],
  ['upstreamTtftMs', 'to the first token', 'c1'],
  ['decodeMs', 'decoding', 'c3'],
  ['backpressureMs', 'slow reader', 'c7'],
]

export function slowCalls(store) {
  byId('stages').append(...STAGES.map(([, label, name]) => {
    const swatch = make('span', { class: 'swatch block' })
    swatch.style.background = `var(--${name})`
    return make('li', {}, swatch, make('span', { text: label }))
  }))

  return {
    draw() {
      const slowest = mixed([...store.slow].sort((a, b) => b.split.totalMs - a.split.totalMs))
      const longest = slowest[0]?.split.totalMs ?? 1
      reconcile(byId('calls'), slowest, ({ id }) => id, create, (row, call) => {
        setText(row.children[0], ago(store.nowS * 1_000 - call.t))
        const bar = row.querySelector('.split')
        STAGES.forEach(([part], i) => (bar.children[i].style.width = `${(100 * Math.max(0, call.split[part])) / longest}%`))
      })
    },
  }
}

/** A few of each backend: one bad batch would fill the list with its members. */
function mixed(calls) {
  const seen = new Map()
  return calls.filter(({ backend }) => {
    const count = (seen.get(backend) ?? 0) + 1
    seen.set(backend, count)
    return count <= EACH
  }).slice(0, SHOWN)
}

function create(call) {
  const parts = STAGES.filter(([part]) => call.split[part] >= 0.1).map(([part, label]) => `${label} ${duration(call.split[part])}`)
  const bar = make('div', { class: 'split', role: 'img', 'aria-label': parts.join(', '), title: parts.join('\n') })
  for (const [, , name] of STAGES) {
    const piece = make('span')
    piece.style.background = `var(--${name})`
    bar.append(piece)
  }
  const what = [call.backend || call.model, call.operation !== (call.backend || call.model) ? call.operation : '', call.class].filter(Boolean).join(' · ')
  const ended = call.outcome === 'ok' ? (call.met ? '' : 'late') : `${call.outcome}${call.reason && call.reason !== call.outcome ? `: ${call.reason}` : ''}`
  return make('tr', { title: `call ${call.id}, trace ${call.trace}` },
    make('td', { class: 'muted' }),
    make('td', {}, make('span', { text: what }), ...(ended ? [make('span', { class: 'missed', text: ` ${ended}` })] : []), ...(call.cache && call.cache !== 'bypass' ? [make('span', { class: 'muted', text: ` cache ${call.cache}` })] : [])),
    make('td', { class: 'num', text: duration(call.split.totalMs) }),
    make('td', { class: 'wide' }, bar),
    make('td', { class: 'num', text: call.outputTokens > 0 ? `${number(call.inputTokens)} → ${number(call.outputTokens)}` : '–' }))
}
