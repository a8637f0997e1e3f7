import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { guardJsonText, guardJsonValue } from '../../src/http/json-guard.ts'

describe('guard of JSON text', () => {
  it('lets every ordinary document pass', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 8 }), fc.constantFrom(0, 1, 3), (value, indent) => {
        fc.pre(!JSON.stringify(value).includes('__proto__'))
        expect(() => guardJsonText(JSON.stringify(value, null, indent))).not.toThrow()
        expect(() => guardJsonValue(value)).not.toThrow()
      }),
    )
  })

  it('finds the same key twice wherever it stands, however it is written', () => {
    fc.assert(
      fc.property(fc.array(fc.string(), { minLength: 1, maxLength: 40 }), fc.nat(), fc.boolean(), fc.jsonValue({ maxDepth: 2 }), (names, pick, escaped, value) => {
        const keys = [...new Set(names.filter((name) => name !== '__proto__' && name !== 'prototype'))]
        fc.pre(keys.length > 0 && !JSON.stringify(value).includes('__proto__'))
        const twice = keys[pick % keys.length] as string
        const escape = (key: string): string => Array.from({ length: key.length }, (_, i) => `\\u${key.charCodeAt(i).toString(16).padStart(4, '0')}`).join('')
        const spell = (key: string): string => (escaped ? `"${escape(key)}"` : JSON.stringify(key))
        const body = keys.map((key) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`)
        expect(() => guardJsonText(`{"a":[{${body.join(',')}}]}`)).not.toThrow()
        expect(() => guardJsonText(`{"a":[{${[...body, `${spell(twice)} : 1`].join(',')}}]}`)).toThrow(/same key twice/)
      }),
    )
  })

  it('never throws anything but its own error, whatever the text', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('{', '}', '[', ']', '"', ':', ',', '\\', 'a', ' ') }), (text) => {
        try {
          guardJsonText(text, 10)
        } catch (thrown) {
          expect(thrown).toMatchObject({ code: 'invalid_request' })
        }
      }),
    )
  })

  it('refuses keys that reach a prototype', () => {
    for (const text of ['{"__proto__":{"polluted":1}}', '{"a":[{"\\u005f_proto__":1}]}', '{"constructor":{"prototype":{"x":1}}}']) expect(() => guardJsonText(text)).toThrow(/not allowed/)
    for (const text of ['{"a":{"__proto__":{"x":1}}}', '{"constructor":{"prototype":{}}}']) expect(() => guardJsonValue(JSON.parse(text))).toThrow(/not allowed/)
    // Fields of a tool's schema may be called so.
    expect(() => guardJsonText('{"properties":{"constructor":{"type":"string"},"prototype":{"type":"string"}}}')).not.toThrow()
  })

  it('refuses nesting past its limit, and takes what is at it', () => {
    expect(() => guardJsonText(`${'['.repeat(100)}${']'.repeat(100)}`)).not.toThrow()
    expect(() => guardJsonText(`${'['.repeat(101)}${']'.repeat(101)}`)).toThrow(/deeper/)
    expect(() => guardJsonText('[{"a":'.repeat(2_000_000))).toThrow(/deeper/)
    expect(() => guardJsonValue(JSON.parse(`${'['.repeat(101)}${']'.repeat(101)}`))).toThrow(/deeper/)
  })
})
