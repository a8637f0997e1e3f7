/**
 * `flyball serve`: the first request after `/readyz` says yes against later ones, each round a process of its own; of the
 * rounds the median counts. The goal is 1.1.
 * With the native engine, against requests that come apart, as the first does, medians of 0.5 to 1.1 were seen; against
 * requests without a pause 1.4 to 2.5 (some 5 ms): there it is missed. As the server counts it, 1.05: the rest is a new
 * connection, and this client's own first request. Without the rehearsal first requests of 17 to 43 ms were seen, and two runs
 * of three fail.
 * With an upstream that answers at once, 1.5 (3.2 ms) against requests that come apart; without the rehearsal 7 (14 ms). No
 * model answers at once: with one that takes 50 ms the goal itself is held, which without the rehearsal is missed.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { repositoryRoot } from '../support/data.ts'
import { fakeUpstream } from '../support/fake-upstream.ts'
import { start } from '../support/flyball-cli.ts'
import { need } from '../support/need.ts'
import { waitFor } from '../support/wait-for.ts'

const MODEL = join(repositoryRoot, 'examples', 'shop-desk', 'model', 'shop-desk-f32.gguf')
const BOUND_APART = 2
const BOUND_TOGETHER = 4
/** By how long the upstream takes, ms. */
const BOUNDS_UPSTREAM = [{ headMs: 0, bound: 3 }, { headMs: 50, bound: 1.1 }] as const
const ROUNDS = 5
const LATER = 15
const PAUSE_MS = 50

interface Round {
  readonly firstMs: number
  /** Medians of later ones, with and without a pause before each. */
  readonly apartMs: number
  readonly togetherMs: number
}

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'flyball-warm-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function configured(rest: string): string {
  const config = join(folder, 'flyball.config.yaml')
  writeFileSync(config, `listen: { port: 0 }\n${rest}\n`)
  return config
}

async function round(config: string): Promise<Round> {
  const cli = start(['serve', '--config', config])
  let url: string | undefined
  await waitFor(() => {
    if (cli.child.exitCode !== null) throw new Error(cli.output())
    return (url = /"url":"(http:\/\/[^"]+)"/.exec(cli.output())?.[1]) !== undefined
  }, 20_000)
  await waitFor(async () => (await fetch(new URL('/readyz', url))).status === 200, 20_000)
  let count = 0
  const ask = async (): Promise<number> => {
    // A prompt of its own each time: nothing comes from a prefix that the first did not have.
    const prompt = `${count++} where is order ${1_000 + count * 37}?`
    const body = JSON.stringify({ model: 'm', temperature: 0, max_tokens: 48, messages: [{ role: 'user', content: prompt }] })
    const startMs = performance.now()
    const reply = await fetch(`${url}/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
    const answer = await reply.json()
    const tookMs = performance.now() - startMs
    expect(reply.status, JSON.stringify(answer)).toBe(200)
    return tookMs
  }
  const firstMs = await ask()
  const later = async (pauseMs: number): Promise<number> => {
    const times: number[] = []
    for (let i = 0; i < LATER; i++) {
      if (pauseMs > 0) await sleep(pauseMs)
      times.push(await ask())
    }
    return median(times)
  }
  const togetherMs = await later(0)
  const apartMs = await later(PAUSE_MS)
  cli.child.kill('SIGTERM')
  await cli.done
  return { firstMs, apartMs, togetherMs }
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] as number

async function roundsOf(config: string): Promise<Round[]> {
  const rounds: Round[] = []
  for (let i = 0; i < ROUNDS; i++) rounds.push(await round(config))
  return rounds
}

it.for(BOUNDS_UPSTREAM)('the first request after ready, to an upstream that takes $headMs ms, takes at most $bound × one that comes later; nobody is asked anything before', { timeout: 60_000 }, async ({ headMs, bound }) => {
  const upstream = await fakeUpstream({ headMs })
  onTestFinished(upstream.close)
  const plugins = '[outside, genai, usage, cache, { throttle: { utilisationSignal: outside.gpu_use } }, priority, batching, warmup]'
  const rounds = await roundsOf(configured(`backends: { up: { type: openai, baseUrl: ${upstream.url}/v1, models: [m] } }\nplugins: ${plugins}`))
  expect(median(rounds.map(({ firstMs, apartMs }) => firstMs / apartMs)), JSON.stringify(rounds)).toBeLessThanOrEqual(bound)
  expect(upstream.requests.filter(({ path }) => !path.endsWith('/models'))).toHaveLength(ROUNDS * (1 + 2 * LATER))
})

need('native').it(`the first request after ready takes at most ${BOUND_APART} × one that comes later`, async () => {
  const rounds = await roundsOf(configured(`backends:\n  n: { type: native, engine: cpu, model: ${JSON.stringify(MODEL)}, modelName: m, maxSequences: 4 }\nplugins: [throttle, priority]`))
  const shown = JSON.stringify(rounds)
  expect(median(rounds.map(({ firstMs, apartMs }) => firstMs / apartMs)), shown).toBeLessThanOrEqual(BOUND_APART)
  expect(median(rounds.map(({ firstMs, togetherMs }) => firstMs / togetherMs)), shown).toBeLessThanOrEqual(BOUND_TOGETHER)
}, 60_000)
