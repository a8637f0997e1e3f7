import type { RequestListener } from 'node:http'
import { describe, expect, it } from 'vitest'
import { outside, priority, throttle } from '../../../../plugins/builtin.ts'
import { createGovernor, definePlugin, knob, type Backend, type Controller, type GovernorOptions, type Plugin, type Reading } from '../../../../src/index.ts'
import type { SourceKind } from '../../../../plugins/signals/outside/maps.ts'
import { HOLD_MS } from '../../../../src/control/loop.ts'
import { z } from 'zod'
import { answeringBackend } from '../../../support/test-host.ts'
import { listen } from '../../../support/listen.ts'
import { manualClock } from '../../../support/manual-clock.ts'
import { waitFor } from '../../../support/wait-for.ts'
import { captured } from '../../../support/captured.ts'
import { DCGM, DCGM_PUBLISHED, LLAMACPP, SGLANG, SGLANG_PUBLISHED, TGI_PUBLISHED, TRITON, TRITON_TRTLLM, VLLM, VLLM_OLD } from './pages.ts'

type Options = NonNullable<Parameters<typeof outside>[0]>
const URL = 'http://upstream:8000/metrics'

/** A governor in manual time whose pages are what `page` holds; an error in it is a failed scrape, `hang` never answers. */
async function rig(options: Options, rest: GovernorOptions & { extra?: readonly Plugin[] } = {}) {
  const clock = manualClock()
  const web = { page: '' as string | Error, asked: [] as string[], aborted: 0 }
  const fetch = (url: string, { signal }: { signal: AbortSignal }): Promise<string> => {
    web.asked.push(url)
    signal.addEventListener('abort', () => web.aborted++)
    if (web.page === 'hang') return new Promise(() => {})
    return web.page instanceof Error ? Promise.reject(web.page) : Promise.resolve(web.page)
  }
  const { extra = [], ...governorOptions } = rest
  const backend: Backend = answeringBackend(() => clock as never)
  const governor = createGovernor({ backends: [backend], env: {}, clock, ...governorOptions, plugins: [outside({ ...options, fetch }), ...extra] })
  const started = governor.start()
  await clock.advance(10)
  await started
  const read = (name: string): Reading => governor.signals.get(`outside.${name}`).for({ backend: 'b' }).read()
  const values = (): Record<string, number | undefined> => Object.fromEntries(['gpu_use', 'queue_length', 'kv_used', 'running'].flatMap((name) => (read(name).samples > 0 ? [[name, read(name).value]] : [])))
  return { clock, web, governor, read, values }
}

const onePage = (source: SourceKind, rest: object = {}): Options => ({ pages: [{ backend: 'b', url: URL, source, ...rest }] })

describe('metrics pages of others', () => {
  it.each([
    ['vLLM, a real page: 4 of 40 run', onePage('vllm'), captured('vllm').get('metrics.txt').text, { queue_length: 36, running: 4, kv_used: 0.0009766817238432424 }],
    ['llama.cpp, a real page: 2 of 39 run; it has no figure for KV any more', onePage('llamacpp'), captured('llama.cpp').get('metrics.txt').text, { queue_length: 37, running: 2 }],
    ['Triton, a real page: of a machine without GPU', onePage('triton'), captured('triton').get('metrics.txt').text, { queue_length: 5 }],
    ['SGLang, as published', onePage('sglang'), SGLANG_PUBLISHED, { queue_length: 2826, running: 162, kv_used: 0.28 }],
    ['TGI, as published', onePage('tgi'), TGI_PUBLISHED, { queue_length: 0, running: 0 }],
    ['DCGM, as published', onePage('dcgm'), DCGM_PUBLISHED, { gpu_use: 0 }],
    ['vLLM, two engines', onePage('vllm'), VLLM, { queue_length: 11, running: 5, kv_used: 0.9 }],
    ['vLLM with the V0 engine', onePage('vllm'), VLLM_OLD, { queue_length: 0, kv_used: 0.25 }],
    ['Triton', onePage('triton'), TRITON, { gpu_use: 0.91, queue_length: 19 }],
    ['Triton, one model', onePage('triton', { signals: ['queue_length'], labels: { model: 'bert' } }), TRITON, { queue_length: 2 }],
    ['Triton with TensorRT-LLM', onePage('triton'), TRITON_TRTLLM, { queue_length: 1, running: 4, kv_used: 0.31 }],
    ['DCGM: percent become a share, an unknown GPU is left out', onePage('dcgm'), DCGM, { gpu_use: 0.93 }],
    ['DCGM, one GPU', onePage('dcgm', { labels: { gpu: '0' } }), DCGM, { gpu_use: 0.37 }],
    ['llama.cpp', onePage('llamacpp'), LLAMACPP, { queue_length: 1, running: 3, kv_used: 0.42 }],
    ['SGLang: ranks that tell the same count once', onePage('sglang'), SGLANG, { queue_length: 2826, running: 7, kv_used: 0.28 }],
    ['names of your own', { pages: [{ backend: 'b', url: URL, map: { queue_length: { metrics: ['my_backlog'], scale: 1000 } } }] }, 'my_backlog{shard="a"} 0.002\nmy_backlog{shard="b"} 0.004', { queue_length: 4 }],
  ] satisfies [string, Options, string, object][])('%s', async (_name, options, page, expected) => {
    const r = await rig(options)
    r.web.page = page
    await r.clock.advance(2_500)
    expect(r.values()).toEqual(Object.fromEntries(Object.entries(expected).map(([name, value]) => [name, expect.closeTo(value, 9)])))
    await r.governor.close()
  })

  it('asks at its interval, of the injected clock, and no longer after close', async () => {
    const r = await rig(onePage('llamacpp'), { knobs: { 'outside.interval_ms': 500 } })
    r.web.page = LLAMACPP
    await r.clock.advance(10_000)
    expect(r.web.asked.length).toBeGreaterThanOrEqual(19)
    expect(r.web.asked.length).toBeLessThanOrEqual(21)
    await r.governor.close()
    const asked = r.web.asked.length
    await r.clock.advance(10_000)
    expect(r.web.asked).toHaveLength(asked)
  })

  it('a page that fails, hangs, or has nothing of what it had makes its signals stale, never 0', async () => {
    const r = await rig(onePage('vllm'))
    for (const bad of [new Error('reset'), 'hang', 'vllm:num_requests_waiting oops', '<html>', 'vllm:kv_cache_usage_perc NaN'] as const) {
      r.web.page = VLLM
      await r.clock.advance(4_000)
      expect([r.read('queue_length').status, r.read('kv_used').status]).toEqual(['fresh', 'fresh'])
      r.web.page = bad
      await r.clock.advance(4_000)
      expect([r.read('queue_length').status, r.read('kv_used').status, r.read('queue_length').value]).toEqual(['stale', 'stale', 11])
    }
    // A single gauge that went away does not drag the others with it.
    r.web.page = VLLM
    await r.clock.advance(4_000)
    r.web.page = 'vllm:num_requests_waiting 3'
    await r.clock.advance(4_000)
    expect([r.read('queue_length').status, r.read('queue_length').value, r.read('kv_used').status]).toEqual(['fresh', 3, 'stale'])
    expect(r.web.aborted).toBeGreaterThan(0)
    await r.governor.close()
  })

  it('refuses what cannot work', () => {
    const page = { backend: 'b', url: URL, source: 'triton' as const }
    const make = (options: Options) => () => createGovernor({ plugins: [outside(options)], env: {}, clock: manualClock() })
    expect(make({ pages: [page, { ...page, source: 'dcgm' }] })).toThrow(/two sources for outside.gpu_use of backend b/)
    expect(make({ pages: [{ ...page, source: 'dcgm', signals: ['kv_used'] }] })).toThrow(/nothing of the page of b is mapped to kv_used/)
    expect(make({ pages: [{ backend: 'b', url: URL }] })).toThrow(/expected a source or a map/)
    expect(make({ pages: [{ ...page, url: 'file:///etc/passwd' }] })).toThrow(/url/)
  })
})

const inFlight = knob({ name: 'follow.limit', default: 8, min: 1, max: 64, unit: '{call}', integer: true, doc: 'Calls at once.', scope: ['backend'], maxUp: 2, maxDown: 0.25, safeDirection: 'down' })

/** Keeps the backend's own queue near two, by its own word. */
const follower: Controller<number> = {
  name: 'follow',
  doc: 'Follows the backend’s queue.',
  scope: ['backend'],
  reads: { queue: { signal: 'outside.queue_length' } },
  primary: 'queue',
  turns: [inFlight.name],
  every: { minSamples: 1, minMs: 1_000 },
  init: () => 0,
  decide(state, { readings, knobs }) {
    const value = knobs[inFlight.name]?.value ?? 0
    const queue = readings.queue?.value ?? 0
    return { state: state + 1, moves: [{ knob: inFlight.name, to: queue > 2 ? value * 0.5 : value + 1 }], why: { reason: 'custom', numbers: { queue } } }
  },
}
const follow = definePlugin({ name: 'follow', phase: 'observe', doc: 'A loop on a signal from outside.', options: z.strictObject({}), declares: { knobs: { inFlight }, controllers: { follower: follower as Controller } }, create: () => ({}) })

describe('a loop that reads a signal from outside', () => {
  it('turns its knob; a failed scrape is stale: hold, then fallback; and it comes back', async () => {
    const r = await rig(onePage('vllm'), { extra: [follow()] })
    const state = (): [string | undefined, number] => [r.governor.loop.views().find(({ controller }) => controller === 'follow')?.mode, r.governor.knobs.get('follow.limit').for({ backend: 'b' }).value]
    r.web.page = 'vllm:num_requests_waiting{model_name="m"} 0'
    await r.clock.advance(20_500)
    const [mode, raised] = state()
    expect(mode).toBe('active')
    expect(raised).toBeGreaterThan(12)
    r.web.page = new Error('connection refused')
    await r.clock.advance(4_000)
    expect(state()).toEqual(['hold', raised])
    await r.clock.advance(HOLD_MS - 6_000)
    expect(state()).toEqual(['hold', raised])
    await r.clock.advance(10_000)
    expect(state()).toEqual(['fallback', 8])
    r.web.page = 'vllm:num_requests_waiting{model_name="m"} 9'
    await r.clock.advance(12_000)
    expect(state()).toEqual(['active', expect.any(Number)])
    expect(state()[1]).toBeLessThan(8)
    await r.governor.close()
  })

  it('the throttle keeps room for urgent calls by GPU use, and does without when nobody tells', async () => {
    const clock = manualClock()
    let page: string | Error = 'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 97'
    const fetch = async (): Promise<string> => (page instanceof Error ? Promise.reject(page) : page)
    const backend = answeringBackend(() => clock as never, { slots: 32, ms: () => 200 })
    const governor = createGovernor({ backends: [backend], env: {}, clock, plugins: [outside({ ...onePage('dcgm'), fetch }), priority(), throttle({ utilisationSignal: 'outside.gpu_use' })] })
    const started = governor.start()
    await clock.advance(3_000)
    await started
    const utilisation = (): number => (governor.pluginStates()['throttle'] as { utilisation: number }[])[0]?.utilisation ?? -1
    expect(utilisation()).toBeCloseTo(0.97)
    /** Time until a batch call starts while interactive ones keep coming, ms. */
    const batchWaits = async (): Promise<number> => {
      const send = (name: string) => {
        const call = governor.call({ operation: 'f', model: 'm', class: name, input: {} })
        governor.send(call).then(async (reply) => { for await (const _ of reply.body); }, () => {})
        return call
      }
      for (let i = 0; i < 40; i++) {
        send('interactive')
        await clock.advance(100)
      }
      const batch = send('batch')
      for (let i = 0; i < 40; i++) {
        send('interactive')
        await clock.advance(100)
      }
      return (batch.timings.dispatchedMs ?? Number.POSITIVE_INFINITY) - batch.timings.receivedMs
    }
    // Several calls of the interactive class go first; then its floor lets it in.
    expect(await batchWaits()).toBeGreaterThan(500)
    page = 'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 20'
    await clock.advance(20_000)
    expect(await batchWaits()).toBeLessThan(10)
    page = new Error('gone')
    await clock.advance(20_000)
    expect(utilisation()).toBe(0)
    expect(await batchWaits()).toBeLessThan(10)
    await governor.close()
  })
})

describe('over HTTP', () => {
  async function serving(handler: RequestListener, options: (base: string) => Options, knobs: Record<string, number> = {}) {
    const server = await listen(handler)
    const warnings: object[] = []
    const log = { debug() {}, info() {}, error() {}, warn: (fields: object) => void warnings.push(fields) }
    const governor = createGovernor({ backends: [answeringBackend(() => undefined as never)], env: {}, log, loops: 'off', knobs: { 'outside.interval_ms': 100, 'outside.timeout_ms': 200, ...knobs }, plugins: [outside(options(server.url))] })
    const state = (): { ok: boolean; outcome: string } => (governor.pluginStates()['outside'] as { ok: boolean; outcome: string }[])[0] as never
    return { governor, state, warnings, queue: () => governor.signals.get('outside.queue_length').for({ backend: 'b' }).read(), close: async () => { await governor.close(); await server.close() } }
  }
  const vllm = (base: string): Options => ({ pages: [{ backend: 'b', url: `${base}/metrics?token=geheim`, source: 'vllm', headers: { authorization: 'Bearer geheim' } }] })

  it('reads a page with the headers it was given', async () => {
    const r = await serving((req, res) => res.end(req.headers.authorization === 'Bearer geheim' && req.url === '/metrics?token=geheim' ? VLLM : ''), vllm)
    await waitFor(() => r.queue().status === 'fresh')
    expect(r.queue().value).toBe(11)
    await r.close()
  })

  it.each([
    ['status', (_req, res) => { res.statusCode = 503; res.end(VLLM) }],
    ['status', (_req, res) => { res.writeHead(302, { location: 'http://169.254.169.254/' }); res.end() }],
    ['timeout', () => {}],
    ['timeout', (_req, res) => { res.write('# slow\n') }],
    ['too_large', (_req, res) => { const more = (): void => { while (!res.destroyed && res.write('x'.repeat(65_536))); res.once('drain', more) }; more() }],
    ['connection', (req) => { req.socket.destroy() }],
    ['no_metric', (_req, res) => res.end('up 1\n')],
  ] satisfies [string, RequestListener][])('%s', async (reason, handler) => {
    const r = await serving(handler, vllm)
    await waitFor(() => r.state().outcome === reason)
    expect(r.queue().status).toBe('stale')
    expect(JSON.stringify([r.warnings, r.state()])).not.toContain('geheim')
    await r.close()
  })

  it('asks Prometheus: vectors, scalars, and what goes wrong', async () => {
    let answer: unknown
    const asked: string[] = []
    const r = await serving(
      (req, res) => {
        asked.push(req.url ?? '')
        res.setHeader('content-type', 'application/json')
        res.end(typeof answer === 'string' ? answer : JSON.stringify(answer))
      },
      (server) => ({ promql: [{ backend: 'b', signal: 'queue_length', server: `${server}/prom`, query: 'sum by (pod) (vllm:num_requests_waiting{model_name="m"})', combine: 'sum' }] }),
    )
    const vector = (...values: string[]) => ({ status: 'success', data: { resultType: 'vector', result: values.map((value) => ({ metric: { pod: 'p' }, value: [1_700_000_000.5, value] })) } })
    for (const [given, expected] of [
      [vector('3', '4.5'), 7.5],
      [vector('NaN'), 'no_metric'],
      [{ status: 'success', data: { resultType: 'scalar', result: [1, '2'] } }, 2],
      [vector(), 'no_metric'],
      [vector('NaN', '6'), 6],
      ['{', 'bad_reply'],
      [{ status: 'success', data: { resultType: 'scalar', result: [1, '9'] } }, 9],
      [{ status: 'error', errorType: 'bad_data', error: 'parse error' }, 'bad_reply'],
    ] as const) {
      answer = given
      await waitFor(() => (typeof expected === 'number' ? r.queue().status === 'fresh' && r.queue().value === expected : r.state().outcome === expected && r.queue().status === 'stale'))
    }
    expect(asked[0]).toBe(`/prom/api/v1/query?query=${encodeURIComponent('sum by (pod) (vllm:num_requests_waiting{model_name="m"})')}`)
    await r.close()
  })
})

