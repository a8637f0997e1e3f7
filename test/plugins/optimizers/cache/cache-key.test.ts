import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { cacheKey } from '../../../../plugins/optimizers/cache/cache-key.ts'
import { canonicalJson } from '../../../../plugins/optimizers/cache/canonical-json.ts'
import type { CallInit } from '../../../../src/index.ts'
import { testCall } from '../../../support/calls.ts'
import { virtualClock } from '../../../support/virtual-clock.ts'

const clock = virtualClock()
const wire = (rawHeaders: string[] = []) => ({ protocol: 'openai', method: 'POST', path: '/chat/completions', rawHeaders })
const keyOf = (init: Partial<CallInit>): string => {
  const found = cacheKey(testCall(clock, init), { cacheSampled: false })
  return 'key' in found ? found.key : `bypass:${found.bypass}`
}
const chat = { model: 'm', temperature: 0, messages: [{ role: 'user', content: 'hi' }] }

/** The same value with the keys of every object in another order. */
function shuffled(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shuffled)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).reverse().map(([key, inner]) => [key, shuffled(inner)]))
}

describe('cache key', () => {
  it('does not depend on key order, anywhere', () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => { expect(canonicalJson(shuffled(value))).toBe(canonicalJson(value)) }))
  })

  it('is the same text only for the same JSON value', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        const same = canonicalJson(a) === canonicalJson(b)
        const sort = (value: unknown): string => JSON.stringify(value, (_, inner: unknown) => (typeof inner === 'object' && inner !== null && !Array.isArray(inner) ? Object.fromEntries(Object.entries(inner).sort(([x], [y]) => (x < y ? -1 : 1))) : inner))
        if (!JSON.stringify([a, b]).includes('-0')) expect(same).toBe(sort(a) === sort(b))
      }),
    )
  })

  it('tells apart what JSON does not, and refuses what has no text', () => {
    const texts = [Number.NaN, null, '@NaN', undefined, -0, 0, 1n, 1, '1', [], {}, [undefined], new Uint8Array([1]), new Uint16Array([1]), new Date(1), ''].map((value) => canonicalJson([value]))
    expect(new Set(texts).size).toBe(texts.length)
    const cycle: Record<string, unknown> = {}
    cycle['self'] = cycle
    for (const unfit of [() => 1, new Map(), Symbol('x'), cycle, new (class Thing {})()]) expect(canonicalJson({ unfit })).toBeUndefined()
  })

  it('is different for another tenant, operation, model, protocol, parameter, or way of delivery', () => {
    const base: Partial<CallInit> = { input: chat, wire: wire() }
    const others: Partial<CallInit>[] = [
      base,
      { ...base, tenant: 'other' },
      { ...base, operation: 'completions' },
      { ...base, model: 'n' },
      { ...base, stream: true },
      { ...base, wire: { ...wire(), protocol: 'anthropic' } },
      { ...base, wire: wire(['Anthropic-Version', '2023-06-01']) },
      { ...base, input: { ...chat, max_tokens: 5 } },
      { ...base, input: { ...chat, messages: [...chat.messages, { role: 'user', content: 'more' }] } },
      { ...base, stream: true, input: { ...chat, stream_options: { include_usage: true } } },
      { ...base, cacheKey: 'mine' },
    ]
    expect(new Set(others.map(keyOf)).size).toBe(others.length)
    expect(others.map(keyOf).some((key) => key.startsWith('bypass'))).toBe(false)
  })

  it('never gives two tenants one key (whatever they put into their names)', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), fc.string(), (tenantA, modelA, tenantB, modelB) => {
        fc.pre(tenantA !== tenantB)
        expect(keyOf({ tenant: tenantA, model: modelA, input: chat })).not.toBe(keyOf({ tenant: tenantB, model: modelB, input: chat }))
      }),
    )
  })

  it('does not look at who asks or how it is delivered', () => {
    expect(keyOf({ input: { ...chat, user: 'u', metadata: { a: 1 }, stream_options: { include_usage: true } } })).toBe(keyOf({ input: chat }))
  })

  it('bypasses answers drawn at random, unless told; embeddings are not drawn', () => {
    expect(keyOf({ input: { ...chat, temperature: 0.2 } })).toBe('bypass:sampled')
    expect(keyOf({ input: { model: 'm', messages: [] } })).toBe('bypass:sampled')
    expect(cacheKey(testCall(clock, { input: { ...chat, temperature: 1 } }), { cacheSampled: true })).toHaveProperty('key')
    expect(keyOf({ operation: 'embeddings', input: { input: 'x' } })).not.toMatch(/^bypass/)
  })

  it('bypasses when a header asks, when the key is null, and when the provider should store', () => {
    for (const headers of [['Cache-Control', 'no-store'], ['cache-control', 'max-age=0, no-cache'], ['X-Flyball-Cache', 'bypass']]) expect(keyOf({ input: chat, wire: wire(headers) })).toBe('bypass:asked')
    expect(keyOf({ input: chat, cacheKey: null })).toBe('bypass:no_key')
    expect(keyOf({ input: { ...chat, store: true } })).toBe('bypass:side_effect')
    expect(keyOf({ input: { handler: () => 1 } })).toBe('bypass:sampled')
    expect(keyOf({ operation: 'f', input: { handler: () => 1 } })).toBe('bypass:no_key')
  })

  it('takes the key that it is given', () => {
    const options = { cacheSampled: false, key: () => 'one' }
    expect(cacheKey(testCall(clock, { input: { a: 1 } }), options)).toEqual(cacheKey(testCall(clock, { input: { a: 2 } }), options))
  })
})
