/** The latest moves of all loops, newest first; each opens its story. */
import { byId, make, reconcile, setText } from './dom.js'
import { clockTime, knobShort, modeName, reasonShort, scopeOf, scopeShort, verdictName, verdictSign, withUnit } from './words.js'

const SHOWN = 14

export function moveText(store, story) {
  if (story.moves.length === 0) return `${story.controller}${scopeOf(story.loop) ? `, ${scopeShort(scopeOf(story.loop))}` : ''}: ${modeName(story.mode)}`
  return story.moves.map((move) => {
    const unit = store.knobSpecs.get(move.knob)?.unit
    const plain = unit === 'ms' || unit === 's' ? unit : '1'
    return `${knobShort(move.knob)}${move.key ? ` of ${scopeShort(move.key)}` : ''} ${withUnit(move.from, plain)} → ${withUnit(move.to, plain)}`
  }).join(', ')
}

export function cameOfIt(story) {
  if (story.dry) return { text: 'dry run', verdict: '' }
  if (!story.outcome) return { text: '', verdict: '' }
  return { text: `${verdictSign(story.outcome.verdict)} ${verdictName(story.outcome.verdict)}${story.outcome.reverted ? ', taken back' : ''}`, verdict: story.outcome.verdict }
}

export function moves(store, openStory) {
  return {
    draw() {
      const latest = store.stories.slice(-SHOWN).reverse()
      byId('no-moves').hidden = latest.length > 0
      reconcile(
        byId('moves'),
        latest,
        ({ seq }) => String(seq),
        (story) =>
          make('li', {},
            make('button', { type: 'button', class: 'move', onclick: () => openStory(story.seq) },
              make('span', { class: 'when', text: clockTime(story.t) }),
              make('span', { class: 'what', text: moveText(store, story) }),
              make('span', { class: 'why', text: `${story.controller}: ${reasonShort(story.reason)}` }),
              make('span', { class: 'came' }))),
        (element, story) => {
          const came = element.querySelector('.came')
          const { text, verdict } = cameOfIt(story)
          setText(came, text)
          came.dataset.verdict = verdict
        },
      )
    },
  }
}
