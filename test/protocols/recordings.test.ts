/** What providers really sent: bytes as they come, tokens as they bill them. */
import fc from 'fast-check'
import { afterAll, beforeAll, expect } from 'vitest'
import { anthropic } from '../../plugins/backends/anthropic/anthropic.ts'
import { openai } from '../../plugins/backends/openai/openai.ts'
import { anthropicProtocol, openAiProtocol, type Backend, type Delta, type Protocol, type Usage } from '../../src/index.ts'
import { readAll, serve, wireCall } from '../plugins/backends/backend-calls.ts'
import { httpUpstream, sendPieces, type Upstream } from '../plugins/backends/upstream.ts'
import { need } from '../support/need.ts'
import { cutAt, streamRecordings, unaryRecordings, type Recording } from './support/recordings.ts'

const data = need('data')
const anyCuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 })

/** Read off the recordings by hand: [input, output, cached, reasoning]. Anthropic's input includes its cache. */
const BILLED: { readonly [name: string]: readonly [input: number, output: number, cached?: number | undefined, reasoning?: number] } = {
  'openai/openai-text.chunks.txt': [16, 300, 0, 0],
  'openai/openai-text.json': [16, 363, 0, 0],
  'openai/openai-completion-text.chunks.txt': [14, 16],
  'openai/openai-completion-text.json': [14, 16],
  'deepseek/deepseek-reasoning.chunks.txt': [18, 219, 0, 205],
  'deepseek/deepseek-reasoning.json': [18, 345, 0, 315],
  'deepseek/deepseek-text.chunks.txt': [13, 400, 0],
  'deepseek/deepseek-text.json': [13, 300, 0],
  'deepseek/deepseek-json.json': [495, 144, 320, 118],
  'groq/groq-reasoning.chunks.txt': [17, 1107, undefined, 963],
  'groq/groq-reasoning.json': [17, 649, undefined, 570],
  'mistral/mistral-incremental-tool-call.chunks.txt': [171, 14, 128],
  'mistral/mistral-reasoning.chunks.txt': [10, 46],
  'mistral/mistral-reasoning.json': [10, 46],
  'mistral/mistral-text.chunks.txt': [13, 8],
  'mistral/mistral-text.json': [13, 434],
  // xAI counts reasoning beside the completion: 26 + 227, 26 + 255.
  'openai-compatible/xai-tool-call.chunks.txt': [307, 253, 306, 227],
  'openai-compatible/xai-tool-call.json': [307, 281, 244, 255],
  'cohere/cohere-empty-tool-call.chunks.txt': [1445, 43],
  'cohere/cohere-tool-call.chunks.txt': [1549, 95],
  'cohere/cohere-tool-call.json': [1549, 103],
  'cohere/cohere-max-tokens.json': [506, 5],
  'azure/azure-text.1.chunks.txt': [11, 11, 0, 0],
  'azure/openai-file-search-tool.1.chunks.txt': [3737, 621, 2304, 512],
  'azure/openai-file-search-tool.2.chunks.txt': [3748, 543, 2304, 448],
  'open-responses/lmstudio-basic.1.chunks.txt': [31, 282, 30, 0],
  'open-responses/lmstudio-tool-call.1.chunks.txt': [182, 61, 2, 48],
  'anthropic/anthropic-tool-no-args.chunks.txt': [565, 48, 0],
  'anthropic/anthropic-tool-no-args.json': [602, 93, 0],
  // 6 + 3,337 written to the cache + 6,289 read from it
  'anthropic/anthropic-code-execution-20260120-prompt-cache.1.chunks.txt': [9632, 198, 6289, 0],
  'anthropic/anthropic-combined-context-editing.1.chunks.txt': [50, 485, 0],
  'anthropic/anthropic-claude-opus-5-reasoning-high.1.json': [51, 1699, 0, 139],
  'anthropic/anthropic-compaction.1.chunks.txt': [612, 2819, 0],
  'anthropic/anthropic-mcp.1.chunks.txt': [1250, 83, 0],
  'anthropic/anthropic-refusal.chunks.txt': [18, 5, 0],
  'anthropic/anthropic-web-search-tool.1.chunks.txt': [15665, 795, 0],
  'anthropic/duplicate-message-start.chunks.txt': [17, 227],
  'anthropic-sdk/stream-a-refusal.sse': [28, 106, 0, 67],
  'anthropic-sdk/stream-b-fallback.sse': [31, 547, 0, 0],
  'anthropic-sdk/tool_use_response.txt': [377, 65, 0],
}

const bill = (name: string): readonly (number | undefined)[] => [...(BILLED[name] ?? []), undefined, undefined].slice(0, 4)

function billed(usage: Usage | undefined): readonly (number | undefined)[] | undefined {
  return usage && [usage.inputTokens, usage.outputTokens, usage.cachedInputTokens, usage.reasoningTokens]
}

function usageOf(deltas: readonly Delta[]): Usage | undefined {
  return deltas.findLast((delta) => delta.type === 'usage')?.usage
}

/** A recording whose JSON is broken as stored, of a protocol that we do not route: it must be told as broken. */
const BROKEN = 'openai/parallel-tool-call-wrapper.1.chunks.txt'

const families: readonly { protocol: Protocol; framing: 'openai' | 'anthropic'; operation: string; path: string; providers: readonly string[] }[] = [
  { protocol: openAiProtocol, framing: 'openai', operation: 'chat', path: '/chat/completions', providers: ['openai', 'openai-compatible', 'deepseek', 'groq', 'mistral', 'cohere', 'azure', 'open-responses'] },
  { protocol: anthropicProtocol, framing: 'anthropic', operation: 'messages', path: '/messages', providers: ['anthropic', 'anthropic-sdk'] },
]

data.describe('recorded replies', () => {
  let upstream: Upstream
  let serving: { pieces: readonly Buffer[]; type: string }
  const backends = new Map<string, Backend>()

  beforeAll(async () => {
    upstream = await httpUpstream((_, res) => sendPieces(res, serving.pieces, serving.type))
    backends.set('openai', openai({ name: 'o', baseUrl: upstream.url }))
    backends.set('anthropic', anthropic({ name: 'a', baseUrl: upstream.url }))
  })
  afterAll(async () => {
    for (const backend of backends.values()) await backend.close()
    await upstream.close()
  })

  for (const { protocol, framing, operation, path, providers } of families) {
    const streams = providers.flatMap((provider) => streamRecordings(provider, framing))
    const unary = providers.flatMap(unaryRecordings)

    data.it.each(streams)(`${protocol.name} $name: facts are the same however it is cut`, ({ name, bytes }: Recording) => {
      const whole = protocol.sideReader(operation, true)
      const first = whole.push(bytes)
      const expected = [...(first.deltas ?? []), ...(whole.end().deltas ?? [])]
      fc.assert(
        fc.property(anyCuts, (cuts) => {
          const side = protocol.sideReader(operation, true)
          const facts = [...cutAt(bytes, cuts).map((piece) => side.push(piece)), side.end()]
          expect(facts.reduce((sum, { tokens }) => sum + tokens, 0)).toBe(first.tokens)
          const read = facts.flatMap(({ deltas }) => deltas ?? [])
          // A count on the way depends on what came with it; the last one does not.
          expect(read.filter(({ type }) => type !== 'usage')).toEqual(expected.filter(({ type }) => type !== 'usage'))
          expect(usageOf(read)).toEqual(usageOf(expected))
        }),
        { numRuns: bytes.length > 100_000 ? 10 : 40 },
      )
      if (name === BROKEN) expect(expected).toMatchObject([{ type: 'error', code: 'upstream_invalid' }])
      else expect(expected.filter((delta) => delta.type === 'error' && delta.code === 'upstream_invalid')).toEqual([])
      if (name in BILLED) expect(billed(usageOf(expected))).toEqual(bill(name))
    })

    data.it.each(streams.filter(({ name }) => name !== BROKEN))(`${protocol.name} $name: everything it says is the same however it is cut`, ({ bytes }: Recording) => {
      const read = (pieces: readonly Buffer[]): Delta[] => {
        const reader = protocol.deltaReader(operation, true)
        return [...pieces.flatMap((piece) => [...reader.push(piece)]), ...reader.end()]
      }
      const expected = read([bytes])
      fc.assert(
        fc.property(anyCuts, (cuts) => {
          expect(read(cutAt(bytes, cuts))).toEqual(expected)
        }),
        { numRuns: bytes.length > 100_000 ? 3 : 15 },
      )
    })

    data.it.each(unary.filter(({ name }) => name in BILLED))(`${protocol.name} $name: bills what the provider billed`, ({ name, bytes }: Recording) => {
      const side = protocol.sideReader(operation, false)
      side.push(bytes)
      expect(billed(usageOf(side.end().deltas ?? []))).toEqual(bill(name))
      const reader = protocol.deltaReader(operation, false)
      expect(usageOf([...reader.push(bytes), ...reader.end()])?.inputTokens).toBe(BILLED[name]?.[0])
    })

    data.it(`${protocol.name}: passes every recording through its backend, cut anywhere, byte for byte`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.constantFrom(...streams.filter(({ name, bytes }) => name !== BROKEN && bytes.length < 60_000)), anyCuts, async ({ bytes }, cuts) => {
          serving = { pieces: cutAt(bytes, cuts), type: 'text/event-stream' }
          const call = wireCall(protocol.name, path, { model: 'm', stream: true }, { operation })
          const reply = await serve(backends.get(protocol.name) as Backend, call)
          expect((await readAll(reply)).bytes.equals(bytes)).toBe(true)
        }),
        { numRuns: 60 },
      )
      for (const { name, bytes } of unary) {
        serving = { pieces: [bytes], type: 'application/json' }
        const call = wireCall(protocol.name, path, { model: 'm' }, { operation })
        expect((await readAll(await serve(backends.get(protocol.name) as Backend, call))).bytes.equals(bytes), name).toBe(true)
      }
    })

    data.it(`${protocol.name}: a settled call's usage is what the provider billed`, async () => {
      for (const { name, bytes } of streams.filter((recording) => recording.name in BILLED)) {
        serving = { pieces: cutAt(bytes, [0.1, 0.5, 0.9]), type: 'text/event-stream' }
        const call = wireCall(protocol.name, path, { model: 'm', stream: true }, { operation })
        await readAll(await serve(backends.get(protocol.name) as Backend, call))
        expect(call.settlement?.outcome, name).toBe('ok')
        expect(billed(call.usage), name).toEqual(bill(name))
      }
    })
  }

  data.it('every provider has at least one bill', () => {
    const providers = families.flatMap((family) => family.providers)
    for (const provider of providers) expect(Object.keys(BILLED).some((name) => name.startsWith(`${provider}/`)), provider).toBe(true)
  })
})
