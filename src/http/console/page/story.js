/** One move, told: what the loop saw, why it moved, what it turned, what came of it. */
import { byId, make, setText, wireDialog } from './dom.js'
import { moveText } from './moves.js'
import { boundName, clockTime, duration, knobShort, modeName, number, numberCalled, numberLabel, percent, reasonLong, scopeOf, scopeShort, verdictName, verdictSign, withUnit } from './words.js'

/** Before and after a move, so many seconds of calls are compared, the second half of a review's time. */
const COMPARED_S = 15

export function storyDialog(store) {
  const dialog = wireDialog(byId('story'))
  let current

  function open(seq) {
    const story = store.bySeq.get(seq)
    if (!story) return
    current = story
    setText(byId('story-title'), moveText(store, story))
    byId('story-body').replaceChildren(...told(store, story))
    byId('story-earlier').disabled = !neighbour(-1)
    byId('story-later').disabled = !neighbour(1)
    if (!dialog.open) dialog.showModal()
  }

  function neighbour(step) {
    const same = store.storiesOf(current.loop)
    return same[same.indexOf(current) + step]
  }

  byId('story-earlier').addEventListener('click', () => { const other = neighbour(-1); if (other) open(other.seq) })
  byId('story-later').addEventListener('click', () => { const other = neighbour(1); if (other) open(other.seq) })
  return { open }
}

function told(store, story) {
  const scope = scopeOf(story.loop)
  const section = (title, ...content) => make('section', {}, make('h3', { text: title }), ...content)
  return [
    make('p', { class: 'story-lead', text: `${clockTime(story.t)}. ${reasonLong(story.reason)}` }),
    make('p', { class: 'muted', text: `Loop ${story.controller}${scope ? ` of ${scopeShort(scope)}` : ''}, ${modeName(story.mode)}${story.dry ? '. Dry run: nothing was turned, this is what would have been' : ''}.` }),
    ...(story.moves.length > 0 ? [section('What it turned', make('ul', {}, ...story.moves.map((move) => make('li', { text: turned(store, move) }))))] : []),
    ...(Object.keys(story.numbers).length > 0
      ? [section('Why', table(['Number', 'Value'], Object.entries(story.numbers).map(([name, value]) => [numberLabel(name), numberCalled(name, value)])))]
      : []),
    ...(story.signals
      ? [section('What it saw', table(['Signal', 'Value', 'Samples', 'Age', 'State'], story.signals.map(({ signal, unit, status, value, samples, ageMs }) => [signal, withUnit(value, unit), number(samples), duration(ageMs), status])))]
      : []),
    section('What came of it', ...cameOf(store, story)),
  ]
}

function turned(store, move) {
  const spec = store.knobSpecs.get(move.knob)
  const value = (one) => withUnit(one, spec?.unit)
  const cut = move.bound ? `; it wished for ${value(move.wish)}, held by ${boundName(move.bound)}` : ''
  return `${knobShort(move.knob)}${move.key ? ` of ${scopeShort(move.key)}` : ''}: ${value(move.from)} → ${value(move.to)}${cut}.${spec ? ` ${spec.doc}` : ''}`
}

function cameOf(store, story) {
  const lines = []
  if (story.predicted !== undefined) lines.push(make('p', { text: `It expected ${predictedText(story)}.` }))
  const { outcome } = story
  if (outcome) {
    lines.push(
      make('p', { text: `${verdictSign(outcome.verdict)} Reviewed: ${verdictName(outcome.verdict)}${outcome.reverted ? ', so it was taken back' : ''}. SLO attainment ${percent(outcome.attainmentBefore)} before (${number(outcome.samplesBefore)} calls), ${percent(outcome.attainmentAfter)} after (${number(outcome.samplesAfter)} calls)${outcome.comparableLoad ? ', at comparable load' : '; the load was not the same, so this says little'}.` }),
    )
    return lines
  }
  const backend = /(?:^|,)backend=([^,]+)/.exec(scopeOf(story.loop))?.[1]
  const group = backend === undefined ? 'all' : `backend=${backend}`
  const t = story.t / 1_000
  const before = store.attainment(group, COMPARED_S, t)
  const passedS = store.nowS - t
  if (story.dry) lines.push(make('p', { text: 'Nothing: it was a dry run.' }))
  else if (story.moves.length === 0) lines.push(make('p', { text: 'The mode changed; no knob was turned.' }))
  else if (passedS < COMPARED_S) lines.push(make('p', { text: `Too early to say: ${duration(passedS * 1_000)} have passed, a review takes ${COMPARED_S} s.` }))
  else {
    const after = store.attainment(group, COMPARED_S, t + COMPARED_S)
    const seen = (atS) => store.at(`loop|observed|${story.loop}`, atS)
    const watched = watchedNumber(story)
    if (watched && seen(t) !== null && seen(t + COMPARED_S) !== null) lines.push(make('p', { text: `It saw ${numberLabel(watched)} at ${numberCalled(watched, seen(t))} then, at ${numberCalled(watched, seen(t + COMPARED_S))} ${COMPARED_S} s later.` }))
    const newer = store.storiesOf(story.loop).find((other) => other.seq > story.seq && other.moves.length > 0)
    lines.push(make('p', { text: `SLO attainment${backend === undefined ? '' : ` of ${backend}`}: ${percent(before)} in the ${COMPARED_S} s before, ${percent(after)} in the ${COMPARED_S} s after.` }))
    lines.push(make('p', { class: 'muted', text: newer && newer.t - story.t < COMPARED_S * 1_000 ? `No verdict: the loop moved again ${duration(newer.t - story.t)} later, so the two cannot be told apart.` : 'No verdict of a review so far.' }))
  }
  return lines
}

/** Which of its numbers the loop watches; as the server tells them apart. */
const watchedNumber = (story) => Object.keys(story.numbers).find((name) => /^(observed|at|p\d+|stale)([A-Z]|$)/.test(name))

function predictedText(story) {
  const watched = watchedNumber(story)
  return watched ? `${numberLabel(watched)} to be ${numberCalled(watched, story.predicted)}` : number(story.predicted)
}

function table(heads, rows) {
  return make('div', { class: 'scroll', tabindex: 0, role: 'group', 'aria-label': `Table: ${heads[0]}` },
    make('table', {},
      make('thead', {}, make('tr', {}, ...heads.map((head, i) => make('th', { scope: 'col', class: i === 0 ? '' : 'num', text: head })))),
      make('tbody', {}, ...rows.map((row) => make('tr', {}, ...row.map((cell, i) => make(i === 0 ? 'th' : 'td', { ...(i === 0 ? { scope: 'row' } : {}), class: i === 0 ? '' : 'num', text: cell })))))))
}
