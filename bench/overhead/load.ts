/** The clients, in the parent process: closed loop at a fixed concurrency, so that every candidate gets the same work. */
import { Agent, request } from 'undici'

export interface LoadShape {
  readonly name: string
  readonly stream: boolean
  readonly promptBytes: number
  /** Ask for the same thing again: a cache hit after the first. */
  readonly repeat?: boolean
}

export interface LoadResult {
  readonly requests: number
  readonly seconds: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Request to first byte of the body. */
  readonly ttftP50Ms: number
  readonly errors: number
}

const CONCURRENCY = 32
const words = 'the order has not arrived and the customer wants to know why it takes so long '

function bodyOf(shape: LoadShape, n: number): string {
  const prompt = words.repeat(Math.ceil(shape.promptBytes / words.length)).slice(0, shape.promptBytes)
  const unique = shape.repeat ? 'again' : `${n} ${process.hrtime.bigint()}`
  return JSON.stringify({ model: 'mock', temperature: 0, max_tokens: 64, messages: [{ role: 'user', content: `${unique} ${prompt}` }], stream: shape.stream })
}

export async function runLoad(url: string, shape: LoadShape, seconds: number, concurrency = CONCURRENCY, headers: Readonly<Record<string, string>> = {}): Promise<LoadResult> {
  const agent = new Agent({ connections: concurrency })
  const latencies: number[] = []
  const firsts: number[] = []
  let errors = 0
  let n = 0
  const started = performance.now()
  const until = started + seconds * 1_000
  async function client(): Promise<void> {
    while (performance.now() < until) {
      const body = bodyOf(shape, n++)
      const start = performance.now()
      try {
        const reply = await request(`${url}/v1/chat/completions`, { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers }, dispatcher: agent })
        let first = 0
        for await (const _ of reply.body) first ||= performance.now()
        if (reply.statusCode !== 200) errors++
        latencies.push(performance.now() - start)
        firsts.push(first - start)
      } catch {
        errors++
      }
    }
  }
  await Promise.all(Array.from({ length: concurrency }, client))
  const elapsed = (performance.now() - started) / 1_000
  await agent.close()
  return { requests: latencies.length, seconds: elapsed, p50Ms: quantile(latencies, 0.5), p99Ms: quantile(latencies, 0.99), ttftP50Ms: quantile(firsts, 0.5), errors }
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN
}
