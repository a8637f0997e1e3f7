/** Trace readers: small traces of our own, mistakes in each, and the real files where they are. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readTrace, type ReadTraceOptions } from '../../src/sim/traces/read-trace.ts'
import { dataPath } from '../support/data.ts'
import { need } from '../support/need.ts'

let folder: string
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'flyball-traces-'))))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function put(name: string, content: string | Buffer): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}
const read = (name: string, content: string | Buffer, options?: ReadTraceOptions) => readTrace(put(name, content), options)

const AZURE = 'TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\r\n2023-11-16 18:17:04.0319600,3180,8\n2023-11-17 00:00:00,1,0\n'
const MOONCAKE = [0, 0, 0, 3000, 3000, 6000].map((timestamp, i) => JSON.stringify({ timestamp, input_length: 100 + i, output_length: i, hash_ids: [0, i] })).join('\n')

describe('Azure CSV', () => {
  it('reads times from the first on, and lengths', async () => {
    const requests = await read('a.csv', AZURE)
    expect(requests.map(({ inputTokens, outputTokens }) => [inputTokens, outputTokens])).toEqual([[4808, 10], [3180, 8], [1, 1]])
    expect(requests[1]?.atMs).toBeCloseTo(52)
    expect(requests[2]?.atMs).toBeCloseTo(20_576_020.04, 0)
  })
  it('reads gzip the same', async () => expect(await read('a.csv.gz', gzipSync(AZURE))).toEqual(await read('a.csv', AZURE)))
  it.each([
    ['TIMESTAMP,Context\n1,2,3\n', ':1: expected the header'],
    [`${AZURE}yesterday,1,2\n`, ':5: expected a timestamp like'],
    [`${AZURE}2023-11-17 00:00:01,1\n`, ':5: expected 3 fields, got 2'],
    [`${AZURE}2023-11-17 00:00:01,many,2\n`, ':5: expected ContextTokens to be a whole number of at least 0, got "many"'],
    [`${AZURE}2023-11-17 00:00:01,1,-2\n`, ':5: expected GeneratedTokens to be a whole number of at least 0, got "-2"'],
    [`${AZURE}2023-11-16 23:59:59,1,2\n`, ':5: expected times in order, got one 1000 ms before'],
    ['TIMESTAMP,ContextTokens,GeneratedTokens\n', 'expected at least one request'],
  ])('names the line and what was expected there: %#', async (text, message) => {
    await expect(read('bad.csv', text)).rejects.toThrow(message)
  })
})

describe('Mooncake JSONL', () => {
  it('spreads the arrivals of a tick over it, in order, the same for the same seed', async () => {
    const requests = await read('m.jsonl', MOONCAKE, { seed: 3 })
    expect(requests).toHaveLength(6)
    expect(requests.map((request) => Math.floor(request.atMs / 3_000))).toEqual([0, 0, 0, 1, 1, 2])
    for (let i = 1; i < requests.length; i++) expect(requests[i]?.atMs).toBeGreaterThanOrEqual(requests[i - 1]?.atMs ?? 0)
    expect(new Set(requests.map((request) => request.atMs)).size).toBe(6)
    expect(await read('m.jsonl', MOONCAKE, { seed: 3 })).toEqual(requests)
    expect(await read('m.jsonl', MOONCAKE, { seed: 4 })).not.toEqual(requests)
    expect(requests[3]?.prefixBlocks).toEqual([0, 3])
  })
  it.each([
    [`${MOONCAKE}\n{"timestamp": `, ':7: expected a JSON object'],
    [`${MOONCAKE}\n{"timestamp": 1, "input_length": 1, "output_length": 1}`, ':7: expected timestamps in order, got 1 after 6000'],
    [`${MOONCAKE}\n{"timestamp": 7000, "input_length": 1.5, "output_length": 1}`, ':7: expected input_length to be a whole number'],
    [`${MOONCAKE}\n{"timestamp": 7000, "input_length": 1, "output_length": 1, "hash_ids": "all"}`, ':7: expected hash_ids to be a list'],
  ])('names the line: %#', async (text, message) => {
    await expect(read('bad.jsonl', text)).rejects.toThrow(message)
  })
})

describe('cache keys', () => {
  it('are little-endian 32-bit numbers, at the rate that is asked for', async () => {
    const bytes = Buffer.alloc(4 * 5_000)
    for (let i = 0; i < 5_000; i++) bytes.writeUInt32LE(i % 7, i * 4)
    const requests = await read('k.trace', bytes, { perS: 50 })
    expect(requests.slice(0, 8).map((request) => request.key)).toEqual(['0', '1', '2', '3', '4', '5', '6', '0'])
    expect((requests.at(-1)?.atMs ?? 0) / 5_000).toBeGreaterThan(19)
    expect((requests.at(-1)?.atMs ?? 0) / 5_000).toBeLessThan(21)
  })
  it('that are cut off are said so', async () => {
    await expect(read('cut.trace', Buffer.alloc(10))).rejects.toThrow('expected keys of 4 bytes, got 10 bytes: key 3 is cut off')
  })
})

describe('our spans', () => {
  const span = (startMs: number, attributes: Record<string, string | number>) => ({ name: 'chat m', startTimeUnixNano: `${BigInt(Math.round(startMs * 1_000)) * 1_000n}`, attributes: Object.entries(attributes).map(([key, value]) => ({ key, value: typeof value === 'number' ? { doubleValue: value } : { stringValue: value } })) })
  const call = { 'flyball.outcome': 'ok', 'flyball.class': 'interactive', 'gen_ai.usage.input_tokens': 10, 'gen_ai.usage.output_tokens': 20, 'flyball.decode_ms': 5 }
  it('are calls in order of their start; attempts and batches are not', async () => {
    const text = [
      JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span(1_767_225_601_500.25, call), span(1_767_225_600_000, call), span(1_767_225_600_000, { ...call, 'flyball.purpose': 'serve' })] }] }] }),
      JSON.stringify(span(1_767_225_602_000, { ...call, 'flyball.outcome': 'cancelled', 'flyball.queue_ms': 70 })),
    ].join('\n')
    const requests = await read('spans.jsonl', text)
    expect(requests.map(({ atMs }) => Math.round(atMs * 1_000) / 1_000)).toEqual([0, 1_500.25, 2_000])
    expect(requests[0]).toMatchObject({ inputTokens: 10, outputTokens: 20, class: 'interactive', stream: true })
    expect(requests[2]?.abortAfterMs).toBe(75)
  })
  it('without one call in them are refused', async () => {
    await expect(read('none.jsonl', JSON.stringify(span(1, { a: 'b' })))).rejects.toThrow('expected spans with flyball.outcome, got none')
  })
})

describe('ServeGen', () => {
  const tar = (files: Record<string, string>): Buffer =>
    Buffer.concat([
      ...Object.entries(files).flatMap(([name, text]) => {
        const header = Buffer.alloc(512)
        header.write(name, 0)
        header.write(text.length.toString(8).padStart(11, '0'), 124)
        header.write('0', 156)
        header.write('ustar', 257)
        return [header, Buffer.from(text.padEnd(Math.ceil(text.length / 512) * 512, '\0'))]
      }),
      Buffer.alloc(1_024),
    ])
  const traces = tar({ 'chunk-3-trace.csv': '0,5,1,Gamma,1,0.2\n600,50,1,Weibull,1,0.02\n' })
  it('draws arrivals at the rates, and lengths from the data set, per client', async () => {
    const datasets = put('d.tar.gz', gzipSync(tar({ 'chunk-3-dataset.json': JSON.stringify({ 0: { input_tokens: '{100: 0.5, 200: 0.5}', output_tokens: '{7: 1.0}' } }) })))
    const first = await read('t.tar.gz', gzipSync(traces), { datasets, durationS: 600 })
    expect(Math.abs(first.length - 3_000)).toBeLessThan(4 * Math.sqrt(3_000))
    expect(new Set(first.map((request) => request.inputTokens))).toEqual(new Set([100, 200]))
    expect(new Set(first.map((request) => request.outputTokens))).toEqual(new Set([7]))
    expect(first[0]?.tenant).toBe('client-3')
    const second = await read('t.tar', traces, { fromS: 600, durationS: 60 })
    expect(Math.abs(second.length - 3_000)).toBeLessThan(4 * Math.sqrt(3_000))
    expect(second[0]?.atMs).toBeLessThan(1_000)
  })
  it('may be of a client with more requests than a function takes arguments', async () => {
    const busy = await read('busy.tar', tar({ 'chunk-1-trace.csv': '0,2000,1,Exponential,1,1\n' }), { durationS: 120 })
    expect(busy.length).toBeGreaterThan(200_000)
  })
  it.each([
    [tar({ 'chunk-3-trace.csv': '0,5,1,Gamma,1,0.2\n600,fast,1,Gamma,1,1\n' }), 'chunk-3-trace.csv:2: expected a start and a rate'],
    [tar({ 'chunk-3-trace.csv': '0,5,1,Cauchy,1,0.2\n' }), 'chunk-3-trace.csv:1: expected a distribution of Gamma'],
    [tar({ 'readme.txt': 'hello' }), 'expected files named chunk-N-trace.csv'],
    [traces.subarray(0, 520), 'the archive breaks off'],
  ])('names the file and line: %#', async (bytes, message) => {
    await expect(read('bad.tar', bytes)).rejects.toThrow(message)
  })
})

it('says what it knows when it does not know a file', async () => {
  await expect(read('x.txt', 'hello\n')).rejects.toThrow(/x\.txt:1: expected a trace of azure, mooncake/)
  await expect(readTrace(join(folder, 'nowhere.csv'))).rejects.toThrow(/nowhere\.csv: cannot be read \(ENOENT\)/)
  await expect(read('broken.gz', Buffer.from([0x1f, 0x8b, 1, 2, 3]))).rejects.toThrow('expected gzip to unpack')
})

const { describe: withData } = need('data')
withData('the real files', () => {
  it.each([
    ['traces/azure-code-first30min.csv.gz', 5_740],
    ['traces/azure-conv.csv.gz', 19_366],
    ['traces/mooncake-conversation.jsonl.gz', 12_031],
    ['traces/aibrix-8min-up-and-down.jsonl.gz', 2_026],
    ['cache/caffeine_cache2k_web07.trace.gz', 76_118],
  ])('%s', async (file, count) => {
    const requests = await readTrace(dataPath(file))
    expect(requests).toHaveLength(count)
    expect(requests.every((request, i) => i === 0 || request.atMs >= (requests[i - 1]?.atMs ?? 0))).toBe(true)
  })
  it('ServeGen, a minute of it, with lengths', async () => {
    const requests = await readTrace(dataPath('traces/servegen-small-traces.tar.gz'), { datasets: dataPath('traces/servegen-small-datasets10.tar.gz'), durationS: 5 })
    expect(requests.length).toBeGreaterThan(1_000)
    expect(new Set(requests.map((request) => request.tenant)).size).toBeGreaterThan(10)
  })
})
