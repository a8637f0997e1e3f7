/** What every wire protocol must do. Call it in a test file: `protocolConformance('mine', () => myProtocol, samples)`. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FlyballError, type CanonicalRequest, type Delta, type FinishReason, type Protocol, type ReplyContext } from '../../src/index.ts'

export interface ProtocolSample {
  readonly operation: string
  /** A request that can be translated. */
  readonly body: Record<string, unknown>
}

export interface ProtocolSamples {
  /** An operation that answers with a chat's deltas; it must have been written so that `stream: true` may be added. */
  readonly chat: ProtocolSample
  readonly others?: readonly ProtocolSample[]
  /** Finish reasons that survive the protocol. Default: `stop`, `length`, `tool-calls`. */
  readonly finishReasons?: readonly FinishReason[]
  /** Required fields, each of which is named in `param` when it is missing. */
  readonly required: readonly string[]
}

const CONTEXT: ReplyContext = { id: 'id1', model: 'm', createdS: 1_700_000_000, includeUsage: true }

/** What a reply says, whatever its pieces. */
interface Said {
  text: string
  reasoning: string
  tools: { id: string; name: string; json: string }[]
  finish: FinishReason | undefined
  usage: { inputTokens: number; outputTokens: number } | undefined
}

function said(deltas: readonly Delta[]): Said {
  const all: Said = { text: '', reasoning: '', tools: [], finish: undefined, usage: undefined }
  for (const delta of deltas) {
    if (delta.type === 'text') all.text += delta.text
    else if (delta.type === 'reasoning') all.reasoning += delta.text
    else if (delta.type === 'tool-start') all.tools[delta.call] = { id: delta.id, name: delta.name, json: '' }
    else if (delta.type === 'tool-input') (all.tools[delta.call] as { json: string }).json += delta.json
    else if (delta.type === 'finish') all.finish = delta.reason
    else if (delta.type === 'usage') all.usage = { inputTokens: delta.usage.inputTokens, outputTokens: delta.usage.outputTokens }
  }
  // Arguments are compared as values: a protocol may write them anew.
  for (const tool of all.tools) tool.json = JSON.stringify(JSON.parse(tool.json))
  return all
}

function cut(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const at = [...new Set([0, ...cuts.map((fraction) => Math.floor(fraction * bytes.length)), bytes.length])].sort((a, b) => a - b)
  return at.slice(1).map((end, i) => bytes.subarray(at[i], end))
}

/** Cut between UTF-16 units that belong together, too: JSON strings carry lone halves as escapes. */
function cutText(text: string, cuts: readonly number[]): string[] {
  const at = [...new Set([0, ...cuts.map((fraction) => Math.floor(fraction * text.length)), text.length])].sort((a, b) => a - b)
  return at.slice(1).map((end, i) => text.slice(at[i], end))
}

const anyText = fc.oneof(fc.string({ unit: 'grapheme', minLength: 1 }), fc.constantFrom('data: [DONE]\n\n', '"usage":{"prompt_tokens":1}', '"finish_reason":"stop"', '{"type":"error"}', '\r\n\r\n', '\u2028', '"error":{"message":"x"}', ' '))
const anyCuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 40 })

function anyReply(reasons: readonly FinishReason[]): fc.Arbitrary<Delta[]> {
  const text: fc.Arbitrary<Delta> = anyText.map((value) => ({ type: 'text', index: 0, text: value }))
  const tool = fc.record({ id: fc.string({ minLength: 1 }), name: fc.string({ minLength: 1 }), input: fc.dictionary(fc.string(), fc.jsonValue(), { noNullPrototype: true }), cuts: anyCuts })
  return fc.tuple(fc.array(anyText.map((value): Delta => ({ type: 'reasoning', index: 0, text: value })), { maxLength: 3 }), fc.array(text, { maxLength: 12 }), fc.array(tool, { maxLength: 3 }), fc.constantFrom(...reasons), fc.nat(10_000), fc.nat(10_000)).map(([reasoning, texts, tools, reason, inputTokens, outputTokens]) => [
    { type: 'start', id: 'up', model: 'm' },
    ...reasoning,
    ...texts,
    ...tools.flatMap(({ id, name, input, cuts }, call): Delta[] => [{ type: 'tool-start', index: 0, call, id: `${call}${id}`, name }, ...cutText(JSON.stringify(input), cuts).map((json): Delta => ({ type: 'tool-input', index: 0, call, json }))]),
    { type: 'finish', index: 0, reason: tools.length > 0 ? 'tool-calls' : reason === 'tool-calls' ? 'stop' : reason },
    { type: 'usage', usage: { inputTokens, outputTokens } },
  ])
}

export function protocolConformance(name: string, make: () => Protocol, samples: ProtocolSamples): void {
  const reasons = samples.finishReasons ?? ['stop', 'length', 'tool-calls']
  const { operation } = samples.chat

  function streamOf(protocol: Protocol, deltas: readonly Delta[]): Buffer {
    const writer = protocol.streamWriter(operation, CONTEXT)
    return Buffer.concat([...deltas.map((delta) => writer.push([delta])), writer.end()])
  }

  describe(`protocol conformance: ${name}`, () => {
    it('has POST routes with operations, and paths that begin with a slash', () => {
      const { routes } = make()
      expect(routes.some(({ method }) => method === 'POST')).toBe(true)
      for (const { path, operation: named } of routes) {
        expect(path).toMatch(/^\/[^?]*$/)
        expect(named).not.toBe('')
      }
      expect(routes.map((route) => route.operation)).toContain(operation)
    })

    it('tells the facts of a request', () => {
      const facts = make().facts(operation, samples.chat.body)
      expect(facts).toMatchObject({ operation, model: samples.chat.body['model'], stream: false })
      expect(facts.work).toBeGreaterThan(0)
      expect(make().facts(operation, { ...samples.chat.body, stream: true }).stream).toBe(true)
    })

    it('refuses what is no request, naming the field', () => {
      const protocol = make()
      for (const body of [null, undefined, 1, 'x', [], {}, true]) expect(() => protocol.facts(operation, body), JSON.stringify(body)).toThrow(FlyballError)
      for (const field of samples.required) {
        const { [field]: _, ...rest } = samples.chat.body
        let thrown: unknown
        try {
          protocol.facts(operation, rest)
        } catch (error) {
          thrown = error
        }
        expect(thrown).toMatchObject({ code: 'invalid_request', param: field })
      }
      expect(() => protocol.facts('no such operation', samples.chat.body)).toThrow(FlyballError)
    })

    it('never throws anything but its own errors, whatever the body', () => {
      const protocol = make()
      fc.assert(
        fc.property(fc.constantFrom(...Object.keys(samples.chat.body)), fc.jsonValue(), (field, value) => {
          const body = { ...samples.chat.body, [field]: value }
          for (const read of [() => protocol.facts(operation, body), () => protocol.toCanonical(operation, body)]) {
            try {
              read()
            } catch (error) {
              expect(error).toBeInstanceOf(FlyballError)
              expect((error as FlyballError).status).toBe(400)
            }
          }
        }),
      )
    })

    it('lets unknown fields pass when nothing is translated, and names them when something is', () => {
      const body = { ...samples.chat.body, a_field_of_tomorrow: 1 }
      expect(() => make().facts(operation, body)).not.toThrow()
      let thrown: unknown
      try {
        make().toCanonical(operation, body)
      } catch (error) {
        thrown = error
      }
      expect(thrown).toMatchObject({ code: 'unsupported_field', param: 'a_field_of_tomorrow' })
    })

    it('goes to the hub and back without loss', () => {
      const protocol = make()
      for (const sample of [samples.chat, ...(samples.others ?? [])]) {
        const canonical: CanonicalRequest = protocol.toCanonical(sample.operation, sample.body)
        const { path, body } = protocol.fromCanonical(canonical)
        const route = protocol.routes.find((candidate) => candidate.path === path)
        expect(route?.operation).toBe(sample.operation)
        expect(protocol.toCanonical(sample.operation, body)).toEqual(canonical)
      }
    })

    it('reads what it writes, however it is cut', () => {
      fc.assert(
        fc.property(anyReply(reasons), anyCuts, (deltas, cuts) => {
          const protocol = make()
          const reader = protocol.deltaReader(operation, true)
          const read = cut(streamOf(protocol, deltas), cuts).flatMap((piece) => [...reader.push(piece)])
          expect(said([...read, ...reader.end()])).toEqual(said(deltas))
        }),
      )
    })

    it('reads the same facts beside the stream, however it is cut, and only facts', () => {
      fc.assert(
        fc.property(anyReply(reasons), anyCuts, (deltas, cuts) => {
          const protocol = make()
          const side = protocol.sideReader(operation, true)
          const facts = [...cut(streamOf(protocol, deltas), cuts).map((piece) => side.push(piece)), side.end()]
          const read = facts.flatMap((chunk) => chunk.deltas ?? [])
          expect(new Set(read.map(({ type }) => type))).toEqual(new Set(['finish', 'usage']))
          expect(said(read)).toMatchObject({ finish: said(deltas).finish, usage: said(deltas).usage })
          const spoke = deltas.some(({ type }) => type === 'text')
          if (spoke) expect(facts.reduce((sum, { tokens }) => sum + tokens, 0)).toBeGreaterThan(0)
        }),
      )
    })

    it('reads what it writes as one document, however it is cut', () => {
      fc.assert(
        fc.property(anyReply(reasons), anyCuts, (deltas, cuts) => {
          const protocol = make()
          const bytes = Buffer.from(JSON.stringify(protocol.unary(operation, deltas, CONTEXT)))
          const reader = protocol.deltaReader(operation, false)
          const side = protocol.sideReader(operation, false)
          const read = cut(bytes, cuts).flatMap((piece) => {
            side.push(piece)
            return [...reader.push(piece)]
          })
          expect(said([...read, ...reader.end()])).toEqual(said(deltas))
          expect(said(side.end().deltas ?? [])).toMatchObject({ finish: said(deltas).finish, usage: said(deltas).usage })
        }),
      )
    })

    it('tells a stream that was cut short from one that ended', () => {
      fc.assert(
        fc.property(anyReply(reasons), fc.double({ min: 0.05, max: 0.6, noNaN: true }), (deltas, fraction) => {
          const protocol = make()
          // Without the events that say how it ended.
          const writer = protocol.streamWriter(operation, CONTEXT)
          const bytes = Buffer.concat(deltas.filter(({ type }) => type !== 'finish' && type !== 'usage').map((delta) => writer.push([delta])))
          const short = bytes.subarray(0, Math.floor(fraction * bytes.length))
          const side = protocol.sideReader(operation, true)
          const facts = [side.push(short), side.end()].flatMap((chunk) => chunk.deltas ?? [])
          expect(facts.find(({ type }) => type === 'error')).toMatchObject({ code: 'upstream_invalid' })
          const reader = protocol.deltaReader(operation, true)
          expect(() => {
            reader.push(short)
            reader.end()
          }).toThrow(FlyballError)
        }),
      )
    })

    it('says an error in band so that its own readers see it, and nothing after it', () => {
      const protocol = make()
      const error = new FlyballError('upstream_timeout')
      const first: Delta = { type: 'text', index: 0, text: 'a' }
      const failed = protocol.streamWriter(operation, CONTEXT)
      const byFail = Buffer.concat([failed.push([first]), failed.fail(error)])
      const relayed = protocol.streamWriter(operation, CONTEXT)
      const byDelta = Buffer.concat([relayed.push([first, { type: 'error', code: 'upstream_timeout', message: error.message, status: 504 }, first]), relayed.end()])
      for (const bytes of [byFail, byDelta]) {
        const reader = protocol.deltaReader(operation, true)
        const read = [...reader.push(bytes), ...reader.end()]
        expect(read.at(-1)).toMatchObject({ type: 'error', message: error.message })
        const side = protocol.sideReader(operation, true)
        expect([side.push(bytes), side.end()].flatMap((chunk) => chunk.deltas ?? []).filter(({ type }) => type !== 'usage')).toMatchObject([{ type: 'error' }])
      }
    })

    it('gives an error a document that its own readers understand, and no stack', () => {
      const protocol = make()
      const error = new FlyballError('invalid_request', { message: 'no such thing', param: 'a.b' })
      for (const document of [protocol.error(error), protocol.unary(operation, [{ type: 'error', code: 'x', message: 'no such thing' }], CONTEXT)]) {
        const bytes = Buffer.from(JSON.stringify(document))
        expect(bytes.toString()).not.toMatch(/\bat .*:\d+:\d+/)
        const reader = protocol.deltaReader(operation, false)
        const [first] = [...reader.push(bytes), ...reader.end()].filter(({ type }) => type === 'error')
        expect(first).toMatchObject({ type: 'error' })
        expect((first as { message: string }).message).toContain('no such thing')
      }
    })

    it('throws its own error for a body that is no JSON', () => {
      const reader = make().deltaReader(operation, false)
      reader.push(Buffer.from('<html>'))
      expect(() => reader.end()).toThrow(FlyballError)
      const side = make().sideReader(operation, false)
      side.push(Buffer.from('<html>'))
      expect(side.end().deltas).toMatchObject([{ type: 'error', code: 'upstream_invalid' }])
    })
  })
}
