import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace'
import { describe, expect, it, vi } from 'vitest'
import { cache, genai, usage } from '../../../plugins/builtin.ts'
import { costOf } from '../../../plugins/observers/usage/index.ts'
import type { GovernorOptions } from '../../../src/index.ts'
import { fakeChat } from '../../support/fake-chat.ts'
import { httpBench, question } from '../../support/http-bench.ts'

const chat = '/v1/chat/completions'
const bench = (governor: GovernorOptions) => httpBench({ backends: [fakeChat({ gapMs: 2 })], governor })
const drained = async (reply: Promise<Response>): Promise<string> => (await reply).text()

describe('genai', () => {
  it('v1.41: the names that dashboards know, and only those', async () => {
    const { post, metrics } = await bench({ plugins: [genai({ semconv: 'v1.41' })] })
    await drained(post(chat, { ...question, stream: true }))
    await drained(post(chat, { ...question, model: 'typo' }))
    const page = await metrics()
    expect(page).toMatch(/^gen_ai_client_operation_duration_count\{gen_ai_operation_name="chat",gen_ai_provider_name="fake",gen_ai_request_model="fake-model",error_type=""\} 1$/m)
    expect(page).toMatch(/^gen_ai_client_operation_duration_count\{[^}]*gen_ai_request_model="_other",error_type="model_not_found"\} 1$/m)
    expect(page).toMatch(/^gen_ai_client_token_usage_sum\{[^}]*gen_ai_token_type="output"\} 3$/m)
    expect(page).toMatch(/^gen_ai_client_token_usage_bucket\{[^}]*gen_ai_token_type="input",le="16"\} 1$/m)
    expect(page).toMatch(/^gen_ai_server_time_to_first_token_count\{/m)
    expect(page).toMatch(/^gen_ai_server_time_per_output_token_count\{/m)
    expect(page).not.toMatch(/gen_ai_client_inference|typo/)
  })

  it('latest, both, and what the environment says', async () => {
    const latest = await bench({ plugins: [genai({ semconv: 'latest' })] })
    await drained(latest.post(chat, question))
    const page = await latest.metrics()
    expect(page).toMatch(/^gen_ai_client_inference_duration_count\{/m)
    expect(page).toMatch(/^gen_ai_client_inference_usage_output_tokens_total\{[^}]*\} 3$/m)
    expect(page).not.toMatch(/gen_ai_client_operation_duration/)
    vi.stubEnv('OTEL_SEMCONV_STABILITY_OPT_IN', 'http/dup,gen_ai/dup')
    const both = await bench({ plugins: [genai()] })
    await drained(both.post(chat, question))
    expect(await both.metrics()).toMatch(/gen_ai_client_operation_duration_count[\s\S]*gen_ai_client_inference_duration_count/)
  })

  it('prompts are on no span, unless asked for', async () => {
    const prompt = async (captureContent?: boolean): Promise<string> => {
      const exporter = new InMemorySpanExporter()
      const tracer = new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] }).getTracer('test')
      const { post } = await bench({ tracer, plugins: [genai(captureContent === undefined ? {} : { captureContent })] })
      await drained(post(chat, { ...question, messages: [{ role: 'user', content: 'my private words' }] }))
      return JSON.stringify(exporter.getFinishedSpans().map(({ name, attributes, events }) => [name, attributes, events]))
    }
    expect(await prompt()).not.toMatch(/private/)
    expect(await prompt(true)).toMatch(/my private words/)
    vi.stubEnv('OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT', 'true')
    expect(await prompt()).toMatch(/my private words/)
  })
})

describe('usage', () => {
  it('counts tokens and cost by tenant; what our own cache answers costs nothing', async () => {
    const { post, metrics } = await bench({ plugins: [usage({ prices: { 'fake-model': { input: 2_000_000, output: 1_000_000 } } }), cache({ shadowRate: 0 })] })
    const asked = { ...question, temperature: 0 }
    for (let i = 0; i < 3; i++) await drained(post(chat, asked, { authorization: 'Bearer one' }))
    await drained(post(chat, asked, { authorization: 'Bearer two' }))
    const page = await metrics()
    const costs = [...page.matchAll(/^flyball_tenant_cost_total\{tenant="([0-9a-f]{32})",model="fake-model"\} ([\d.]+)$/gm)].map(([, tenant, cost]) => [tenant, Number(cost)])
    expect(costs.map(([, cost]) => cost)).toEqual([17, 17])
    expect(costs[0]?.[0]).not.toBe(costs[1]?.[0])
    expect(page).toMatch(/^flyball_tenant_tokens_total\{tenant="[0-9a-f]{32}",kind="output"\} 3$/m)
  })

  it('keeps its number of tenants bounded', async () => {
    const { post, metrics } = await bench({ plugins: [usage()] })
    for (let i = 0; i < 80; i++) await drained(post(chat, question, { authorization: `Bearer ${i}` }))
    const tenants = new Set([...(await metrics()).matchAll(/^flyball_tenant_tokens_total\{tenant="([^"]+)",kind="output"\}/gm)].map(([, tenant]) => tenant))
    expect(tenants.size).toBe(65)
    expect(tenants.has('_other')).toBe(true)
  })

  it('prices cached and written tokens apart', () => {
    const price = { input: 3, output: 15, cachedInput: 0.3, cacheWrite: 3.75 }
    expect(costOf({ inputTokens: 1_000_000, outputTokens: 0, cachedInputTokens: 400_000, cacheWriteTokens: 100_000 }, price)).toBeCloseTo(1.5 + 0.12 + 0.375)
    expect(costOf({ inputTokens: 1_000_000, outputTokens: 1_000_000, cachedInputTokens: 500_000 }, { input: 1, output: 2 })).toBeCloseTo(3)
  })
})
