/** The first thing to see: do users get what they were promised, and if not, what stands in the way. */
import { byId, make, reconcile, setText } from './dom.js'
import { moveText } from './moves.js'
import { drawSparkline, sparkline } from './sparkline.js'
import { ago, duration, knobShort, modeName, number, percent, reasonShort, scopeShort } from './words.js'

const WINDOW_S = 60
const NOW_S = 10
/** How far back the lines beside the numbers go. */
const SPARK_S = 300
/** Fewer calls in the window say nothing about a class. */
const MIN_CALLS = 10
/** In the order of interest when nothing is promised of them. */
const LATENCIES = [['ttft', 'First token', 'ttftMs'], ['e2e', 'Whole call', 'e2eMs'], ['start', 'Start', 'startMs'], ['itl', 'Between tokens', 'itlMs']]

/** How a class stands, against its own promise. */
function standing(store, slo) {
  const group = `class=${slo.name}`
  const offered = store.sum(`calls|offered|${group}`, WINDOW_S)
  const attained = store.attainment(group, WINDOW_S)
  const level = attained === null || offered < MIN_CALLS ? 'idle' : attained >= slo.quantile ? 'good' : attained >= slo.quantile - 0.05 ? 'warn' : 'bad'
  return { slo, offered, attained, level }
}

export function verdict(store) {
  function draw() {
    const { state, meta } = store
    const classes = meta.classes.map((slo) => standing(store, slo))
    const judged = classes.filter(({ level }) => level !== 'idle')
    const order = ['good', 'warn', 'bad']
    const worst = judged.toSorted((a, b) => order.indexOf(b.level) - order.indexOf(a.level) || a.attained - a.slo.quantile - (b.attained - b.slo.quantile))[0]
    const needs = attentionOf(store)
    const level = worst?.level ?? (needs.some((need) => need.level === 'bad') ? 'bad' : 'idle')
    const unwell = needs.some((need) => need.level === 'bad')
    const { headline, because } = words(worst, judged, state, store, unwell)
    show((level === 'good' && unwell) || (level === 'bad' && isOver(store, worst)) ? 'warn' : level, headline, because)
    reconcile(byId('attention'), needs, ({ key }) => key, () => make('li', {}, make('span')), (element, { level: itsLevel, text }) => {
      element.dataset.level = itsLevel
      setText(element.firstElementChild, text)
    })
    reconcile(byId('tiles'), tilesOf(store, classes), ({ label }) => label, ({ label }) => make('li', {}, make('span', { class: 'label', text: label }), make('span', { class: 'value' }), make('span', { class: 'note' }), sparkline()), (element, tile) => {
      element.dataset.level = tile.level ?? ''
      setText(element.children[1], tile.value)
      setText(element.children[2], tile.note)
      drawSparkline(element.children[3], tile.past, tile.top)
    })
  }

  /** Nothing has come for so long. What is on the page is the past then, and nobody may take it for the present. */
  function lost(silentS) {
    if (store.state === undefined) return show('lost', 'The gateway does not answer', 'Trying again every few seconds.')
    show('lost', 'No news from the gateway', `For ${duration(silentS * 1_000)}. It is gone, or the network in between is; trying again. All below is the last that it said.`)
  }

  /** The same in the bar and in the tab: this page is often scrolled down, or behind others. */
  function show(level, headline, because) {
    byId('verdict').dataset.level = level
    byId('bar').dataset.level = level
    setText(byId('headline'), headline)
    setText(byId('because'), because)
    document.title = QUIET.has(level) ? store.abilities.title : `▲ ${headline} · ${store.abilities.title}`
  }
  return { draw, lost }
}

const QUIET = new Set(['good', 'idle'])

function words(worst, judged, state, store, unwell) {
  if (!worst) {
    if (!state.ready) return { headline: state.draining ? 'Shutting down' : 'Not ready yet', because: 'The backends warm up.' }
    if (unwell) return { headline: 'Idle, but not well', because: 'Hardly anything was asked in the last minute, and the next who asks may be let down.' }
    return { headline: 'Idle', because: 'Hardly anything was asked in the last minute.' }
  }
  const others = judged.filter((one) => one !== worst).map(({ slo, attained }) => `${slo.name} ${percent(attained)} of ${percent(slo.quantile)}`)
  const rest = others.length > 0 ? ` Others: ${others.join(', ')}.` : ''
  if (worst.level === 'good') return { headline: 'SLO met', because: `${percent(store.attainment('all', WINDOW_S))} of the last minute’s calls got what they were promised.${judged.length > 1 ? ` By class: ${judged.map(({ slo, attained }) => `${slo.name} ${percent(attained)} of ${percent(slo.quantile)}`).join(', ')}.` : ''}` }
  // A minute remembers; whether it is over is the next thing to know.
  const now = store.attainment(`class=${worst.slo.name}`, NOW_S)
  return {
    headline: isOver(store, worst) ? 'SLO met again' : worst.level === 'bad' ? 'SLO missed' : 'SLO just missed',
    because: `Of ${worst.slo.name} calls in the last minute ${percent(worst.attained)} got what they were promised; it should be ${percent(worst.slo.quantile)}${now === null ? '' : `; in the last ${NOW_S} s it was ${percent(now)}`}.${rest}${whereFrom(store)}`,
  }
}

/** The last minute missed its promise, the last seconds keep it. */
function isOver(store, worst) {
  if (!worst || worst.level === 'good') return false
  const group = `class=${worst.slo.name}`
  return store.sum(`calls|offered|${group}`, NOW_S) >= MIN_CALLS && store.attainment(group, NOW_S) >= worst.slo.quantile
}

/** The backend that most of the missed calls were for. */
function whereFrom(store) {
  const missed = store.groups().filter((group) => group.startsWith('backend=')).map((group) => ({ name: group.slice(8), missed: store.sum(`calls|offered|${group}`, WINDOW_S) - store.sum(`calls|met|${group}`, WINDOW_S), attained: store.attainment(group, WINDOW_S) }))
  const total = missed.reduce((sum, one) => sum + one.missed, 0)
  const [most] = missed.sort((a, b) => b.missed - a.missed)
  return most && missed.length > 1 && most.missed > 0.6 * total ? ` ${most.missed > 0.95 * total ? 'All' : 'Most'} of the misses are at ${most.name}: ${percent(most.attained)} in time.` : ''
}

/** What somebody on call should know, worst first. */
function attentionOf(store) {
  const { state } = store
  const needs = []
  const add = (level, key, text) => needs.push({ level, key, text })
  for (const backend of state.backends) {
    if (backend.health && !backend.health.healthy) add('bad', `down/${backend.name}`, `Backend ${backend.name} is not healthy${backend.health.detail ? `: ${backend.health.detail}` : ''}.`)
  }
  const offered = store.sum('calls|offered|all', WINDOW_S)
  const shed = store.sum('calls|shed|all', WINDOW_S)
  const failed = store.sum('calls|failed|all', WINDOW_S)
  if (offered >= MIN_CALLS && failed / offered > 0.01) add('bad', 'failed', `${percent(failed / offered)} of calls failed in the last minute.`)
  if (offered >= MIN_CALLS && shed / offered > 0.01) add('warn', 'shed', `${percent(shed / offered)} of calls were turned away in the last minute, so that the others are in time.`)
  for (const loop of state.loops) {
    if (loop.mode === 'fallback' || loop.mode === 'hold') add(loop.mode === 'fallback' ? 'bad' : 'warn', `loop/${loop.id}`, `Loop ${loop.controller}${loop.key ? ` of ${scopeShort(loop.key)}` : ''} is in ${modeName(loop.mode)}, since ${duration(loop.modeForMs)}.`)
  }
  for (const backend of state.backends) {
    if (backend.waiting > 0 && backend.inFlight >= backend.limit) add('warn', `full/${backend.name}`, `${backend.name} is full: ${backend.inFlight} in flight of ${number(backend.limit)}, ${number(backend.waiting)} waiting.`)
  }
  if (state.draining) add('warn', 'draining', 'Shutting down: new calls are refused.')
  if (state.dryRun) add('warn', 'dry', 'Dry run: the loops decide and turn nothing.')
  if (state.staticArm) add('info', 'static', 'An experiment holds the static values for a while, to measure what the loops bring.')
  const pinned = state.knobs.filter((knob) => knob.pin !== undefined)
  if (pinned.length > 0) add('info', 'pins', `Pinned: ${pinned.map((knob) => `${knobShort(knob.name)}${knob.key ? ` of ${scopeShort(knob.key)}` : ''} at ${number(knob.pin)}`).join('; ')}.`)
  const last = store.stories.findLast((story) => story.moves.length > 0)
  if (last && store.nowS * 1_000 - last.t < 60_000) {
    add('info', 'last', `Latest move, ${ago(store.nowS * 1_000 - last.t)}: ${moveText(store, last)} (${reasonShort(last.reason)}).`)
  }
  if (store.dropped > 0) add('warn', 'dropped', 'There are more series than this page keeps; some are not shown.')
  return needs
}

function tilesOf(store, classes) {
  const offeredPerS = store.sum('calls|offered|all', 10) / 10
  const goodPerS = store.sum('calls|met|all', 10) / 10
  const offered = store.sum('calls|offered|all', WINDOW_S)
  const share = (what) => (offered === 0 ? null : store.sum(`calls|${what}|all`, WINDOW_S) / offered)
  const urgent = [...store.meta.classes].sort((a, b) => a.priority - b.priority)[0] ?? {}
  const latencies = LATENCIES.map(([metric, label, key]) => ({ metric, label, target: urgent[key] }))
  const shown = [...latencies.filter(({ target }) => target !== undefined), ...latencies.filter(({ target }) => target === undefined)].slice(0, 3)
  const quantile = urgent.quantile === 0.99 ? 'p99' : urgent.quantile === 0.5 ? 'p50' : 'p95'
  const called = classes.filter(({ slo, offered: calls }) => calls > 0 || store.sum(`calls|offered|class=${slo.name}`, 600) > 0)
  const waiting = store.state.backends.reduce((sum, backend) => sum + backend.waiting, 0)
  const from = store.from(SPARK_S)
  return [
    ...(called.length > 0 ? called : classes).slice(0, 3).map(({ slo, attained, level, offered: calls }) => ({ label: `SLO met, ${slo.name}`, value: percent(attained), note: calls === 0 ? 'no calls' : `of ${percent(slo.quantile)} promised`, level, past: store.share('met', `class=${slo.name}`, from), top: 1 })),
    { label: 'Goodput', value: `${number(goodPerS)} /s`, note: `of ${number(offeredPerS)} /s offered`, past: store.perS('met', 'all', from) },
    { label: 'Turned away', value: percent(share('shed')), note: `failed ${percent(share('failed'))}`, level: (share('failed') ?? 0) > 0.01 ? 'bad' : (share('shed') ?? 0) > 0.01 ? 'warn' : undefined, past: store.share('shed', 'all', from), top: 0.1 },
    ...shown.map(({ metric, label, target }) => {
      const name = `latency|${metric}|${quantile}|class=${urgent.name}`
      const value = store.latest(name)
      return { label: `${label}, ${quantile}`, value: duration(value), note: target === undefined ? 'no promise' : `of ${duration(target)} promised`, level: target !== undefined && value !== null && value > target ? 'warn' : undefined, past: store.column(name, from) }
    }),
    { label: 'Waiting', value: number(waiting), note: `${number(store.state.backends.reduce((sum, backend) => sum + backend.inFlight, 0))} in flight`, past: waitingPast(store, from) },
  ]
}

function waitingPast(store, from) {
  const columns = store.state.backends.map(({ name }) => store.column(`lane|waiting|${name}`, from))
  return store.times.slice(from).map((_, i) => columns.reduce((sum, column) => sum + (column[i] ?? 0), 0))
}
