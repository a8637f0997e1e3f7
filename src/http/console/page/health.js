/** Backends, uplift, and all knobs: the tables. */
import { byId, make, reconcile, setText } from './dom.js'
import { boundsText, duration, number, percent, scopeShort, withUnit } from './words.js'

const WINDOW_S = 60

export function health(store, operator) {
  function drawBackends() {
    reconcile(
      byId('backends'),
      store.state.backends,
      ({ name }) => name,
      ({ name }) => make('tr', {}, make('th', { scope: 'row', text: name }), make('td', { class: 'health' }), ...Array.from({ length: 6 }, () => make('td', { class: 'num' }))),
      (row, backend) => {
        const cells = row.children
        const { health: said, ready } = backend
        cells[1].dataset.level = said ? (said.healthy ? 'good' : 'bad') : ''
        setText(cells[1], said ? (said.healthy ? '● healthy' : `▲ down${said.detail ? `: ${said.detail}` : ''}`) : ready ? '● ready' : '○ not warm')
        setText(cells[2], number(backend.inFlight))
        setText(cells[3], number(backend.limit))
        setText(cells[4], number(backend.waiting))
        setText(cells[5], `${number(backend.completionsPerS ?? 0)} /s`)
        setText(cells[6], percent(store.attainment(`backend=${backend.name}`, WINDOW_S)))
        setText(cells[7], duration(store.latest(`latency|e2e|p95|backend=${backend.name}`)))
      },
    )
  }

  function drawUplift() {
    const place = byId('uplift')
    const { uplift } = store.state
    const key = JSON.stringify(uplift ?? null)
    if (place.dataset.key === key) return
    place.dataset.key = key
    place.replaceChildren(...upliftContent(uplift))
  }

  function drawKnobs() {
    if (!byId('knobs').closest('details').open && byId('knobs').children.length > 0) return
    reconcile(
      byId('knobs'),
      store.state.knobs,
      ({ id }) => id,
      (knob) => {
        const spec = store.knobSpecs.get(knob.name)
        return make('tr', {},
          make('th', { scope: 'row', text: knob.name, title: spec?.doc }),
          make('td', { text: knob.key ? scopeShort(knob.key) : 'everywhere' }),
          make('td', { class: 'num' }),
          make('td', { text: spec ? boundsText(spec) : '' }),
          make('td'),
          make('td', {}, make('button', { type: 'button', onclick: () => operator.pinOrUnpin(knob.id) })))
      },
      (row, knob) => {
        setText(row.children[2], withUnit(knob.value, store.knobSpecs.get(knob.name)?.unit))
        setText(row.children[4], LAYERS[knob.layer] ?? knob.layer)
        const button = row.querySelector('button')
        button.hidden = !operator.unlocked
        setText(button, knob.pin === undefined ? 'Pin…' : 'Unpin')
        button.setAttribute('aria-label', `${knob.pin === undefined ? 'Pin' : 'Unpin'} ${knob.name} ${knob.key}`)
      },
    )
  }

  return {
    draw() {
      drawBackends()
      drawUplift()
      drawKnobs()
    },
  }
}

const LAYERS = { pin: 'operator (pinned)', experiment: 'experiment', fallback: 'fallback', controller: 'its loop', start: 'configuration' }

const UPLIFT = [
  ['attainment', 'SLO attainment', (value) => `${value >= 0 ? '+' : '−'}${number(Math.abs(value) * 100)} points`, 1],
  ['goodputPerS', 'Goodput', (value) => `${value >= 0 ? '+' : '−'}${number(Math.abs(value))} /s`, 1],
  ['latencyMs', 'Mean latency', (value) => `${value >= 0 ? '+' : '−'}${duration(Math.abs(value))}`, -1],
  ['cost', 'Calls to a backend, per call', (value) => `${value >= 0 ? '+' : '−'}${number(Math.abs(value))}`, -1],
]

function upliftContent(uplift) {
  if (!uplift) return [
    make('p', { text: 'Not measured here.' }),
    make('p', { class: 'muted', text: 'With “switchback” in the configuration your static values hold for a tenth of the time, and this tells what the loops bring in the rest of it.' }),
  ]
  if (!uplift.attainment) return [make('p', { text: `${uplift.pairs} of 4 pairs of blocks so far: too few for an interval.` }), make('p', { class: 'muted', text: `Now: ${uplift.phase === 'static' ? 'the static values hold' : uplift.phase === 'washout' ? 'between the two' : 'the loops govern'}.` })]
  const rows = UPLIFT.filter(([name]) => uplift[name]).map(([name, label, format, good]) => {
    const { mean, low, high } = uplift[name]
    const sure = low > 0 || high < 0
    const verdict = !sure ? 'no difference shown' : mean * good > 0 ? 'better' : 'worse'
    return make('tr', {}, make('th', { scope: 'row', text: label }), make('td', { class: 'num', text: format(mean) }), make('td', { class: 'num', text: `${format(low)} to ${format(high)}` }), make('td', { text: verdict }))
  })
  return [
    make('div', { class: 'scroll' }, make('table', {}, make('thead', {}, make('tr', {}, ...['Governed minus static', 'Mean', '95\u202f% interval', ''].map((head, i) => make(head ? 'th' : 'td', { ...(head ? { scope: 'col' } : {}), class: i === 1 || i === 2 ? 'num' : '', text: head })))), make('tbody', {}, ...rows))),
    make('p', { class: 'muted', text: `${uplift.pairs} pairs of blocks; ${uplift.endedEarly} static ones were cut short because users paid for them.` }),
  ]
}
