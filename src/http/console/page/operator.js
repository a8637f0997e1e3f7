/** Changes: the token, pins, dry run. The server checks everything again. */
import { byId, setText, wireDialog } from './dom.js'
import { knobShort, scopeShort, withUnit } from './words.js'

export function operator(store) {
  let token
  const tokenDialog = wireDialog(byId('token-dialog'))
  const pinDialog = wireDialog(byId('pin-dialog'))
  let pinning

  /** Resolves with undefined, or with what went wrong in words. */
  async function ask(verb, body) {
    try {
      const reply = await fetch(`api/${verb}`, { method: 'POST', headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` }, body: JSON.stringify(body) })
      if (reply.ok) return undefined
      const { error } = await reply.json()
      if (reply.status === 401) lock()
      return error?.message ?? `refused (${reply.status})`
    } catch {
      return 'The gateway did not answer.'
    }
  }

  function lock() {
    token = undefined
    self.unlocked = false
    draw()
  }

  byId('unlock').addEventListener('click', () => {
    if (self.unlocked) return lock()
    setText(byId('token-error'), '')
    byId('token').value = ''
    tokenDialog.showModal()
  })

  byId('token-form').addEventListener('submit', async (event) => {
    event.preventDefault()
    token = byId('token').value
    const problem = await ask('check', {})
    if (problem !== undefined) {
      token = undefined
      return setText(byId('token-error'), problem)
    }
    self.unlocked = true
    tokenDialog.close()
    draw()
  })

  byId('dry').addEventListener('change', async ({ currentTarget }) => {
    if ((await ask('dry-run', { on: currentTarget.checked })) !== undefined) currentTarget.checked = !currentTarget.checked
  })

  byId('pin-form').addEventListener('submit', async (event) => {
    event.preventDefault()
    const forMs = byId('pin-for').value
    const problem = await ask('pin', { knob: pinning.name, key: pinning.key, value: byId('pin-value').valueAsNumber, ...(forMs === '' ? {} : { forMs: Number(forMs) }) })
    if (problem === undefined) pinDialog.close()
    else setText(byId('pin-error'), problem)
  })

  function openPin(knob) {
    pinning = knob
    const spec = store.knobSpecs.get(knob.name)
    setText(byId('pin-title'), `Pin ${knobShort(knob.name)}${knob.key ? ` of ${scopeShort(knob.key)}` : ''}`)
    setText(byId('pin-doc'), `${spec.doc} While it is pinned, no loop turns it.`)
    setText(byId('pin-bounds'), `${withUnit(spec.min, spec.unit)} to ${withUnit(spec.max, spec.unit)}; now ${withUnit(knob.value, spec.unit)}`)
    setText(byId('pin-error'), '')
    const input = byId('pin-value')
    Object.assign(input, { min: spec.min, max: spec.max, step: spec.integer ? 1 : 'any', value: spec.integer ? Math.round(knob.value) : Number(knob.value.toPrecision(4)) })
    pinDialog.showModal()
    input.select()
  }

  function draw() {
    byId('unlock').hidden = !store.abilities.changes
    setText(byId('unlock'), self.unlocked ? 'Lock' : 'Unlock changes')
    byId('dry-label').hidden = !self.unlocked
    if (store.state && document.activeElement !== byId('dry')) byId('dry').checked = store.state.dryRun
  }

  const self = {
    unlocked: false,
    draw,
    pinOrUnpin(id) {
      const knob = store.state.knobs.find((one) => one.id === id)
      if (!knob) return
      if (knob.pin === undefined) openPin(knob)
      else void ask('unpin', { knob: knob.name, key: knob.key })
    },
  }
  return self
}
