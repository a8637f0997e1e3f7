/** Each loop: what it sees against what it wants, and the knob it turns, on one time axis with its moves. */
import { byId, make, reconcile, setText } from './dom.js'
import { Plot } from './plot.js'
import { boundsText, duration, knobShort, modeName, modeSign, numberCalled, numberLabel, reasonLong, reasonShort, scopeOf, scopeShort, withUnit } from './words.js'

const HEIGHT_REM = 6
const SHORT_HEIGHT_REM = 5

export const loopName = ({ controller, key }) => (key ? `${controller} · ${scopeShort(key)}` : controller)

class LoopCard {
  constructor(store, loop, openStory, operator) {
    this.store = store
    this.id = loop.id
    this.observedName = loop.observed?.name ?? ''
    const marks = (st, fromS) => st.storiesOf(this.id).filter(({ t, moves }) => t / 1_000 > fromS && moves.length > 0).map(({ t, seq, dry }) => ({ t: t / 1_000, seq, dry }))
    this.watched = new Plot({
      title: 'Sees',
      heightRem: HEIGHT_REM,
      times: loop.knobs.length === 0,
      empty: 'Nothing to see yet',
      format: (value) => numberCalled(this.observedName, value),
      marks,
      onMark: openStory,
      series: [
        { label: 'observed', colour: 'c1', width: 2, gaps: false, of: (st, from) => st.column(`loop|observed|${this.id}`, from) },
        { label: 'target', colour: 'c7', dash: [6, 4], width: 1.25, level: true, gaps: false, of: (st, from) => st.column(`loop|target|${this.id}`, from) },
        { label: 'predicted', colour: 'c6', width: 1.25, gaps: false, of: (st, from) => st.column(`loop|predicted|${this.id}`, from) },
      ],
    })
    this.knobs = loop.knobs.map((id, i) => this.#knob(store, id, marks, openStory, operator, i === loop.knobs.length - 1))
    this.mode = make('span', { class: 'mode' })
    this.why = make('p')
    this.element = make(
      'article',
      { class: 'card loop', 'aria-label': `Loop ${loopName(loop)}` },
      make('header', {}, make('h3', { text: loopName(loop) }), this.mode),
      this.why,
      this.watched.element,
      ...this.knobs.map(({ plot }) => plot.element),
    )
  }

  /** Only the lowest chart names the time: all of a card share the axis. */
  #knob(store, id, marks, openStory, operator, lowest) {
    const name = id.slice(0, id.indexOf('{'))
    const spec = store.knobSpecs.get(name)
    const value = make('strong', { class: 'knob-value' })
    const note = make('span', { class: 'hint' })
    const pin = make('button', { type: 'button', 'aria-label': `Pin ${knobShort(name)}`, onclick: () => operator.pinOrUnpin(id) })
    const bound = (limit) => (st, from) => {
      const values = st.column(`knob|${id}`, from).filter((value) => value !== null)
      const [low, high] = [Math.min(...values), Math.max(...values)]
      // A bound that is far away would press the line flat; the text says where it is.
      const near = values.length > 0 && limit <= high + Math.max(high - low, high * 0.5, 1) && limit >= low - Math.max(high - low, high * 0.5, 1)
      return st.times.slice(from).map(() => (near ? limit : null))
    }
    const plot = new Plot({
      title: `Turns ${knobShort(name)}`,
      caption: [value, note, pin],
      legend: false,
      heightRem: SHORT_HEIGHT_REM,
      times: lowest,
      format: (value) => withUnit(value, /^\{/.test(spec.unit) ? '1' : spec.unit),
      marks,
      onMark: openStory,
      series: [
        { label: 'in force', colour: 'c3', width: 2.25, step: true, of: (st, from) => st.column(`knob|${id}`, from) },
        { label: 'upper bound', colour: 'c6', dash: [2, 3], width: 1, level: true, of: bound(spec.max) },
        { label: 'lower bound', colour: 'c6', dash: [2, 3], width: 1, level: true, of: bound(spec.min) },
      ],
    })
    return { id, spec, plot, value, note, pin }
  }

  update(loop, seconds, operator) {
    if (loop.observed) this.observedName = loop.observed.name
    this.mode.dataset.mode = loop.mode
    setText(this.mode, `${modeSign(loop.mode)} ${modeName(loop.mode)}`)
    setText(this.why, reasonLong(loop.reason))
    if (loop.observed) this.watched.setTitle(`Sees ${numberLabel(loop.observed.name)}`)
    this.watched.update(this.store, seconds)
    for (const { id, spec, plot, value, note, pin } of this.knobs) {
      const knob = this.store.state.knobs.find((one) => one.id === id)
      if (knob) {
        setText(value, withUnit(knob.value, spec.unit))
        setText(note, `${boundsText(spec)}${knob.layer === 'pin' ? `; pinned${knob.pinEnds ? `, ${duration(knob.pinEnds - this.store.nowS * 1_000)} left` : ''}` : knob.layer === 'controller' || knob.layer === 'start' ? '' : `; set by ${knob.layer}`}`)
        note.classList.toggle('pinned', knob.layer === 'pin')
        pin.hidden = !operator.unlocked
        setText(pin, knob.pin === undefined ? 'Pin…' : 'Unpin')
        pin.setAttribute('aria-label', `${knob.pin === undefined ? 'Pin' : 'Unpin'} ${knobShort(spec.name)}`)
      }
      plot.update(this.store, seconds)
    }
  }

  remove() {
    this.watched.remove()
    for (const { plot } of this.knobs) plot.remove()
  }
}

export function loops(store, openStory, operator) {
  const cards = new Map()
  const wanted = new Set()

  /** A loop that has moved, is blind, or holds a pinned knob; and those asked for. */
  function isBusy(loop, moved) {
    return moved.has(loop.id) || loop.mode === 'hold' || loop.mode === 'fallback' || wanted.has(loop.id) || store.state.knobs.some((knob) => knob.pin !== undefined && loop.knobs.includes(knob.id))
  }

  function draw(seconds) {
    const lastMove = new Map()
    for (const story of store.stories) if (story.moves.length > 0) lastMove.set(story.loop, story)
    const busy = store.state.loops.filter((loop) => isBusy(loop, lastMove))
    // In the order of controllers: cards that change places cannot be read.
    // Those of a backend first: they decide how many calls run.
    busy.sort((a, b) => Number(b.key.startsWith('backend=')) - Number(a.key.startsWith('backend=')) || controllerRank(store, a) - controllerRank(store, b) || (a.key < b.key ? -1 : 1))
    for (const [id, card] of cards) {
      if (busy.some((loop) => loop.id === id)) continue
      card.remove()
      cards.delete(id)
    }
    reconcile(
      byId('loops'),
      busy,
      ({ id }) => id,
      (loop) => {
        const card = new LoopCard(store, loop, openStory, operator)
        cards.set(loop.id, card)
        return card.element
      },
      () => {},
    )
    for (const loop of busy) cards.get(loop.id).update(loop, seconds, operator)

    const quiet = store.state.loops.filter((loop) => !busy.includes(loop))
    byId('quiet').hidden = quiet.length === 0
    setText(byId('quiet-title'), busy.length === 0 ? `No loop has moved yet: ${quiet.length} watch` : `${quiet.length} more ${quiet.length === 1 ? 'loop has' : 'loops have'} not moved`)
    reconcile(
      byId('quiet-list'),
      quiet,
      ({ id }) => id,
      (loop) => make('li', {}, make('strong', { text: loopName(loop) }), make('span'), make('span', { class: 'muted' }), make('button', { type: 'button', text: 'Show', 'aria-label': `Show ${loopName(loop)}`, onclick: () => { wanted.add(loop.id); draw(seconds) } })),
      (element, loop) => {
        setText(element.children[1], `${modeSign(loop.mode)} ${modeName(loop.mode)}, ${reasonShort(loop.reason)}`)
        setText(element.children[2], loop.knobs.map((id) => {
          const knob = store.state.knobs.find((one) => one.id === id)
          return knob ? `${knobShort(knob.name)} ${withUnit(knob.value, store.knobSpecs.get(knob.name)?.unit)}` : scopeOf(id)
        }).join(', '))
      },
    )
  }

  return {
    draw,
    reset() {
      for (const card of cards.values()) card.remove()
      cards.clear()
    },
  }
}

const controllerRank = (store, loop) => store.meta.controllers.findIndex(({ name }) => name === loop.controller)

