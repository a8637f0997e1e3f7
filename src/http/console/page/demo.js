/** The demo load's phases, as radio buttons; only where a demo runs. */
import { byId, make, reconcile, setText } from './dom.js'

async function switchTo(phase) {
  const reply = await fetch('api/demo', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ phase }) })
  return reply.ok
}

export function demo(store) {
  /** What was clicked counts until the server says so too. */
  let asked

  function choose(name) {
    asked = { name, untilMs: performance.now() + 3_000 }
    void switchTo(name || null)
    draw()
  }

  function draw() {
    const running = store.state?.demo
    byId('demo').hidden = !running
    if (!running) return
    if (asked && performance.now() > asked.untilMs) asked = undefined
    const { current } = running
    const chosen = asked ? asked.name : current?.held ? current.name : ''
    const options = [{ name: '', doc: 'one phase after the other' }, ...running.phases]
    reconcile(
      byId('phases'),
      options,
      ({ name }) => name,
      ({ name, doc }) => make('button', { type: 'button', role: 'radio', title: doc, text: name || 'in turn', onclick: () => choose(name), onkeydown: moveFocus }),
      (button, { name }) => {
        const checked = name === chosen
        button.setAttribute('aria-checked', String(checked))
        button.tabIndex = checked ? 0 : -1
        button.dataset.now = name !== '' && name === current?.name && !checked ? 'yes' : 'no'
      },
    )
    setText(byId('demo-title'), 'Demo load')
  }

  return { draw }
}

/** Arrow keys walk a radio group. */
function moveFocus(event) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key]
  if (!step) return
  event.preventDefault()
  const all = [...event.currentTarget.parentElement.children]
  const next = all[(all.indexOf(event.currentTarget) + step + all.length) % all.length]
  next.focus()
  next.click()
}
