/** A plugin as a third party writes it, against the public surface alone: what it declares shows everywhere by itself. */
import { MeterProvider } from '@opentelemetry/sdk-metrics'
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus'
import express from 'express'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { createGovernor, definePlugin, instrument, knob, label, referenceMarkdown, signal, type Controller, type Governor } from '../../src/index.ts'
import { fakeChat } from '../support/fake-chat.ts'
import { listen, type Listening } from '../support/listen.ts'
import { waitFor } from '../support/wait-for.ts'

const politeness = knob({ name: 'courtesy.pause_ms', default: 4, min: 0, max: 64, unit: 'ms', doc: 'Pause before each call.', scope: ['class'], maxDown: 0.5 })
const greetings = signal({ name: 'courtesy.greetings', unit: '{call}', doc: 'Calls that began politely.', scope: ['class'], aggregate: 'sum' })
const paused = instrument({ name: 'courtesy.paused_seconds', kind: 'histogram', unit: 's', doc: 'Pauses taken.', labels: { class: label('SLO class.', 16) }, buckets: [0.001, 0.01, 0.1] })

const relax: Controller<{ seen: number }> = {
  name: 'courtesy',
  doc: 'Halves the pause once people have been greeted.',
  scope: ['class'],
  reads: { greetings: { signal: greetings.name } },
  primary: 'greetings',
  turns: [politeness.name],
  every: { minSamples: 3, minMs: 10 },
  init: () => ({ seen: 0 }),
  decide(_state, input) {
    const value = input.readings['greetings']?.value ?? 0
    const current = input.knobs[politeness.name]?.value ?? 0
    return { state: { seen: value }, moves: [{ knob: politeness.name, to: current / 2 }], why: { reason: 'custom', numbers: { greetings: value } } }
  },
}

const courtesy = definePlugin({
  name: 'courtesy',
  phase: 'observe',
  doc: 'Pauses politely before every call.',
  options: z.strictObject({ greeting: z.string().default('good day') }),
  declares: { knobs: { politeness }, signals: { greetings }, instruments: { paused }, controllers: { relax: relax as Controller } },
  create(host, options) {
    host.describe(() => ({ greeting: options.greeting }))
    host.command('greet', (name) => `${options.greeting}, ${String(name)}`)
    return {
      async handler(call, next) {
        const pauseMs = host.knobs.politeness.for({ class: call.class }).value
        await host.clock.sleep(pauseMs, call.signal)
        host.instruments.paused.record(pauseMs / 1_000, { class: call.class })
        host.signals.greetings.for({ class: call.class }).push(1)
        return next(call)
      },
    }
  },
})

describe('a third-party plugin', () => {
  let governor: Governor
  let server: Listening
  const exporter = new PrometheusExporter({ preventServerStart: true })
  const meter = new MeterProvider({ readers: [exporter] }).getMeter('test')

  beforeAll(async () => {
    governor = createGovernor({ backends: [fakeChat()], plugins: [courtesy({ greeting: 'hello' })], meter })
    await governor.start()
    const app = express()
    app.use('/v1', governor.gateway())
    app.use('/admin', governor.admin())
    app.get('/metrics', governor.metrics({ exporter }))
    server = await listen(app)
    for (let i = 0; i < 5; i++) {
      const answer = await fetch(`${server.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'fake-model', messages: [{ role: 'user', content: 'hi' }] }),
      })
      expect(answer.status).toBe(200)
    }
    await waitFor(() => governor.decisions.recent(1).length > 0)
  })

  afterAll(async () => {
    await governor.close()
    await server.close()
  })

  it('shows its knob, signal, instrument and controller in /metrics', async () => {
    const page = await (await fetch(`${server.url}/metrics`)).text()
    expect(page).toMatch(/^flyball_knob_value\{knob="courtesy\.pause_ms",scope="class=interactive"\} [\d.]+$/m)
    expect(page).toMatch(/^flyball_signal_value\{signal="courtesy\.greetings",scope="class=interactive"\} 5$/m)
    expect(page).toMatch(/^courtesy_paused_seconds_count\{class="interactive"\} 5$/m)
    expect(page).toMatch(/^flyball_loop_mode\{controller="courtesy",scope="class=interactive",mode="active"\} 1$/m)
    expect(page).toMatch(/^flyball_knob_moves_total\{knob="courtesy\.pause_ms",.*direction="down"/m)
  })

  it('shows all four in /admin/state, and its move in /admin/decisions', async () => {
    const state = (await (await fetch(`${server.url}/admin/state`)).json()) as Record<string, { name: string }[]> & { plugins: object; commands: string[] }
    const names = (list: string): string[] => (state[list] ?? []).map(({ name }) => name)
    expect(names('knobs')).toContain('courtesy.pause_ms')
    expect(names('signals')).toContain('courtesy.greetings')
    expect(names('instruments')).toContain('courtesy.paused_seconds')
    expect(names('controllers')).toContain('courtesy')
    expect(state.plugins).toMatchObject({ courtesy: { greeting: 'hello' } })
    expect(state.commands).toContain('courtesy.greet')
    const { decisions } = (await (await fetch(`${server.url}/admin/decisions?controller=courtesy`)).json()) as { decisions: { moves: object[]; why: object }[] }
    expect(decisions.at(-1)).toMatchObject({ moves: [{ knob: 'courtesy.pause_ms', from: 4, to: 2 }], why: { reason: 'custom' } })
  })

  it('shows all four in the generated tables', () => {
    const tables = referenceMarkdown(governor)
    expect(tables).toMatch(/^\| `courtesy\.pause_ms` \| 4 \| 0 – 64 \| ms \| class \| courtesy \| .*Pause before each call\./m)
    expect(tables).toMatch(/^\| `courtesy\.greetings` \| \{call\} \| class \| sum \|/m)
    expect(tables).toMatch(/^\| `courtesy\.paused_seconds` \| `courtesy_paused_seconds` \| histogram \|/m)
    expect(tables).toMatch(/^\| courtesy \| class \| `courtesy\.greetings` \| `courtesy\.pause_ms` \|/m)
  })

  it('takes its commands and its pins through the admin API', async () => {
    const json = { 'content-type': 'application/json' }
    const greeted = await fetch(`${server.url}/admin/commands/courtesy.greet`, { method: 'POST', headers: json, body: '"Ada"' })
    expect(await greeted.json()).toEqual({ result: 'hello, Ada' })
    const pin = await fetch(`${server.url}/admin/knobs/courtesy.pause_ms/pin`, { method: 'PUT', headers: json, body: JSON.stringify({ value: 0, scope: { class: 'interactive' } }) })
    expect(pin.status).toBe(200)
    expect(governor.knobs.get('courtesy.pause_ms').for({ class: 'interactive' })).toMatchObject({ value: 0, layer: 'pin' })
  })
})
