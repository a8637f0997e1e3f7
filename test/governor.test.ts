import { getEventListeners } from 'node:events'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { cache } from '../plugins/optimizers/cache/index.ts'
import { definePlugin } from '../src/core/define-plugin.ts'
import type { Phase } from '../src/core/plugin.ts'
import { replyOf } from '../src/core/reply.ts'
import { createGovernor } from '../src/governor.ts'
import type { GovernorOptions } from '../src/governor-contract.ts'
import { knob } from '../src/knobs/knob-spec.ts'
import { manualClock, settle } from './support/manual-clock.ts'
import { scriptedBackend } from './support/scripted-backend.ts'

const plugin = (name: string, phase: Phase, withKnob = false) =>
  definePlugin({ name, phase, doc: '', options: z.strictObject({}), ...(withKnob ? { declares: { knobs: { k: knob({ name: `${name}.k`, default: 1, min: 0, max: 2, unit: '1', doc: '' }) } } } : {}), create: () => ({}) })()
const governor = (options: GovernorOptions = {}) => createGovernor({ clock: manualClock(), env: {}, loops: 'off', ...options })

describe('createGovernor refuses what cannot work', () => {
  it.each<[string, () => GovernorOptions, RegExp]>([
    ['a cache outside the observer', () => ({ plugins: [plugin('c', 'reuse'), plugin('o', 'observe')] }), /o \(observe\) must be listed before c \(reuse\)/],
    ['a plugin twice', () => ({ plugins: [plugin('c', 'reuse'), plugin('c', 'reuse')] }), /listed twice/],
    ['a backend twice', () => ({ backends: [scriptedBackend(), scriptedBackend()] }), /configured twice/],
    ['an unknown knob', () => ({ knobs: { 'no.such': 1 } }), /there is no knob no.such/],
    ['a value of one scope outside a knob’s bounds, before any call is of that scope', () => ({ plugins: [cache()], knobs: { 'cache.ttl_s{class=faq}': -1 } }), /knobs\.cache\.ttl_s\{class=faq\}: expected a number in .*, got -1/],
    ['a scope that the knob does not have', () => ({ plugins: [cache()], knobs: { 'cache.ttl_s{backend=b}': 5 } }), /knobs\.cache\.ttl_s\{backend=b\}: expected a scope such as \{class=…\}/],
    ['a scope that cannot be read', () => ({ plugins: [cache()], knobs: { 'cache.ttl_s{faq': 5 } }), /knobs\.cache\.ttl_s\{faq: expected a scope such as \{class=…\}/],
    ['a scope of a knob that has none', () => ({ plugins: [plugin('x', 'observe', true)], knobs: { 'x.k{class=a}': 1 } }), /knobs\.x\.k\{class=a\}: the knob has no scopes/],
    ['a value outside a knob’s bounds', () => ({ knobs: { 'lane.max_queue': -1 } }), /expected a whole number in 0..1000000/],
    ['an unknown default class', () => ({ defaultClass: 'x' }), /expected one of interactive, batch, got x/],
  ])('%s', (_, options, message) => expect(() => governor(options())).toThrow(message))

  it('a plugin option that is not known, where it is written', () => {
    const factory = definePlugin({ name: 'p', phase: 'reuse', doc: '', options: z.strictObject({ ttlMs: z.number().optional() }), create: () => ({}) })
    expect(() => factory({ ttl: 1 } as never)).toThrow('plugin p: unknown key "ttl"')
    expect(() => factory({ ttlMs: 'x' } as never)).toThrow('plugin p: expected number, got string at ttlMs')
  })
})

it('two backends of one kind share what they declare; another record of the same name is refused', () => {
  const shared = { knobs: { k: knob({ name: 'kind.k', default: 1, min: 0, max: 2, unit: '1', doc: '', scope: ['backend'] }) } }
  const g = governor({ backends: [{ ...scriptedBackend({ name: 'a' }), ...shared }, { ...scriptedBackend({ name: 'b' }), ...shared }] })
  g.knobs.pin('kind.k', { backend: 'a' }, 2)
  expect(g.knobs.get('kind.k').for({ backend: 'b' }).value).toBe(1)
  expect(() => g.addBackend({ ...scriptedBackend({ name: 'c' }), knobs: { k: { ...shared.knobs.k } } })).toThrow('knob kind.k is declared twice')
})

it('asks for health again and again without gathering listeners, and no more once closed', async () => {
  const clock = manualClock()
  const signals = new Set<AbortSignal>()
  let asked = 0
  const g = governor({ clock, backends: [{ ...scriptedBackend(), health: async (signal) => { signals.add(signal); asked++; return { healthy: true } } }] })
  await g.start()
  for (let i = 0; i < 20; i++) await clock.advance(5_000)
  expect(asked).toBe(21)
  expect([...signals].map((signal) => getEventListeners(signal, 'abort').length)).toEqual([0])
  await g.close()
  await clock.advance(60_000)
  expect(asked).toBe(21)
})

describe('a call through a governor', () => {
  it('goes through the onion, the lane and the backend, and settles once with its usage and times', async () => {
    const clock = manualClock()
    const backend = scriptedBackend()
    const seen: string[] = []
    const g = governor({ clock, backends: [backend], plugins: [definePlugin({ name: 'w', phase: 'observe', doc: '', options: z.strictObject({}), create: () => ({ handler: async (call, next) => { seen.push(call.model); return next(call) } }) })()] })
    const call = g.call({ operation: 'chat', model: 'm', input: {} })
    const outcomes: string[] = []
    call.onSettle((settlement) => outcomes.push(settlement.outcome))
    const reply = g.send(call)
    await clock.advance(10)
    backend.runs[0]?.answer({ chunks: [{ tokens: 3, deltas: [{ type: 'usage', usage: { inputTokens: 7, outputTokens: 3 } }] }] })
    for await (const _ of (await reply).body);
    expect(seen).toEqual(['m'])
    expect(outcomes).toEqual(['ok'])
    expect(call.settlement).toMatchObject({ usage: { inputTokens: 7, outputTokens: 3 }, timings: { dispatchedMs: 1_000, headMs: 1_010 } })
  })

  it('a plugin that answers by itself never reaches a lane', async () => {
    const backend = scriptedBackend()
    const g = governor({ backends: [backend], plugins: [definePlugin({ name: 'a', phase: 'reuse', doc: '', options: z.strictObject({}), create: () => ({ handler: async () => replyOf([{ tokens: 1 }]) }) })()] })
    const call = g.call({ operation: 'chat', model: 'm', input: {} })
    for await (const _ of (await g.send(call)).body);
    expect(call.settlement?.outcome).toBe('ok')
    expect(backend.runs).toHaveLength(0)
  })

  it('routes by model, then to a backend that serves any; without one it says so', async () => {
    const one = { ...scriptedBackend({ name: 'one' }), models: ['a'] }
    const any = scriptedBackend({ name: 'any' })
    expect(governor({ backends: [any, one] }).route('a').name).toBe('one')
    expect(governor({ backends: [any, one] }).route('zzz').name).toBe('any')
    expect(() => governor({ backends: [one] }).route('zzz')).toThrow(expect.objectContaining({ code: 'model_not_found', param: 'model' }))
    expect(governor({ backends: [any, one] }).modelLabel('zzz')).toBe('_other')
  })

  it('drains: refuses what is new, waits for what is open', async () => {
    const backend = scriptedBackend()
    const g = governor({ backends: [backend] })
    const call = g.call({ operation: 'chat', model: 'm', input: {} })
    const reply = g.send(call)
    await settle()
    let drained = false
    const drain = g.drain().then(() => (drained = true))
    await expect(g.send(g.call({ operation: 'chat', model: 'm', input: {} }))).rejects.toMatchObject({ code: 'draining' })
    await settle()
    expect(drained).toBe(false)
    backend.runs[0]?.answer({ chunks: [] })
    for await (const _ of (await reply).body);
    await drain
    expect(g.backendStates()[0]).toMatchObject({ inFlight: 0, waiting: 0 })
  })

  it('close aborts what is open, and its backends', async () => {
    const backend = scriptedBackend()
    const g = governor({ backends: [backend] })
    const call = g.call({ operation: 'chat', model: 'm', input: {} })
    const reply = g.send(call)
    await settle()
    await g.close()
    await expect(reply).rejects.toMatchObject({ code: 'draining' })
    expect(call.settlement?.outcome).toBe('shed')
  })

  it('a knob of a plugin, raised, lets waiting calls go at once', async () => {
    const backend = scriptedBackend({ slots: 8 })
    const limited = definePlugin({
      name: 'l',
      phase: 'lane',
      doc: '',
      options: z.strictObject({}),
      declares: { knobs: { limit: knob({ name: 'l.limit', default: 1, min: 1, max: 8, integer: true, unit: '{call}', doc: '', scope: ['backend'] }) } },
      create: (host) => ({ forLane: (lane) => { const cell = host.knobs.limit.for({ backend: lane.backend }); return { name: 'l', limit: () => cell.value } } }),
    })
    const g = governor({ backends: [backend], plugins: [limited()] })
    for (let i = 0; i < 4; i++) g.send(g.call({ operation: 'chat', model: 'm', input: {} })).catch(() => {})
    await settle()
    expect(backend.runs).toHaveLength(1)
    g.knobs.pin('l.limit', { backend: 'scripted' }, 3)
    await settle()
    expect(backend.runs).toHaveLength(3)
    await g.close()
  })
})
