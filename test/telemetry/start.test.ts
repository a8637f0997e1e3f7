import { metrics, trace } from '@opentelemetry/api'
import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace'
import express from 'express'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { createGovernor, startTelemetry, type Telemetry } from '../../src/index.ts'
import { fakeChat } from '../support/fake-chat.ts'
import { listen } from '../support/listen.ts'
import { waitFor } from '../support/wait-for.ts'

let telemetry: Telemetry | undefined
afterEach(async () => {
  await telemetry?.shutdown()
  telemetry = undefined
})

describe('startTelemetry', () => {
  it('starts once', async () => {
    telemetry = await startTelemetry({ env: {} })
    await expect(startTelemetry()).rejects.toThrow('it is running already')
  })

  it('wants one sampling rule', async () => {
    await expect(startTelemetry({ keep: { share: 0.1 }, sampler: { shouldSample: () => ({ decision: 0 }), toString: () => 'none' } })).rejects.toThrow('expected keep or sampler, got both')
  })

  it('sends spans and metrics to a collector when the environment names one, and nowhere otherwise', async () => {
    const received: { path: string; body: string }[] = []
    const collector = await listen((req, res) => {
      const parts: Buffer[] = []
      req.on('data', (part: Buffer) => parts.push(part)).on('end', () => {
        received.push({ path: req.url ?? '', body: Buffer.concat(parts).toString('latin1') })
        res.writeHead(200, { 'content-type': 'application/x-protobuf' }).end()
      })
    })
    vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', collector.url)
    vi.stubEnv('OTEL_SERVICE_NAME', 'my-gateway')
    vi.stubEnv('OTEL_METRIC_EXPORT_INTERVAL', '100')
    telemetry = await startTelemetry()
    trace.getTracer('test').startSpan('a span of mine').end()
    metrics.getMeter('test').createCounter('a.counter').add(1)
    await telemetry.shutdown()
    telemetry = undefined
    const traces = received.find(({ path }) => path === '/v1/traces')
    expect(traces?.body).toMatch(/a span of mine/)
    expect(traces?.body).toMatch(/my-gateway/)
    // The process detector would publish how it was started, and by whom.
    expect(traces?.body).not.toMatch(/process\.command|host\.name/)
    await waitFor(() => received.some(({ path }) => path === '/v1/metrics'))
    await collector.close()
  })

  it('says at /metrics what is missing, without an SDK', async () => {
    const governor = createGovernor({ backends: [fakeChat()] })
    const server = await listen(express().get('/metrics', governor.metrics()))
    const reply = await fetch(`${server.url}/metrics`)
    expect([reply.status, await reply.text()]).toEqual([503, expect.stringMatching(/startTelemetry/)])
    await governor.close()
    await server.close()
  })

  it('keeps errors, slow calls and moves, and a share of the rest', async () => {
    const exporter = new InMemorySpanExporter()
    telemetry = await startTelemetry({ spanProcessors: [new SimpleSpanProcessor({ exporter })], keep: { share: 0, slowMs: 100 }, env: {} })
    const broken = { ...fakeChat({ name: 'broken', models: ['broken-model'] }), run: () => [Promise.reject(new Error('x'))] }
    const governor = createGovernor({ backends: [fakeChat(), fakeChat({ name: 'slow', models: ['slow-model'], gapMs: 60 }), broken] })
    await governor.start()
    const ask = async (model: string): Promise<void> => {
      const call = governor.call({ operation: 'chat', model, input: {} })
      try {
        for await (const _ of (await governor.send(call)).body);
      } catch {
        // One of them fails on purpose.
      }
    }
    await ask('fake-model')
    await ask('slow-model')
    await ask('broken-model')
    governor.decisions.append({ monoMs: 0, wallMs: 0, controller: 'test', scope: { backend: 'fake' }, mode: 'active', dry: false, moves: [{ knob: 'a.b', key: 'backend=fake', from: 1, to: 2, wish: 3, bound: 'max_up' }], why: { reason: 'custom', numbers: { p95Ms: 7 } } })
    governor.decisions.append({ monoMs: 0, wallMs: 0, controller: 'quiet', scope: {}, mode: 'active', dry: false, moves: [], why: { reason: 'steady', numbers: {} } })
    const kept = exporter.getFinishedSpans()
    expect(kept.map(({ name }) => name).sort()).toEqual(['chat broken-model', 'chat broken-model', 'chat slow-model', 'chat slow-model', 'control test'])
    const move = kept.find(({ name }) => name === 'control test')
    expect(move?.attributes).toMatchObject({ 'flyball.controller': 'test', 'flyball.reason': 'custom', 'flyball.why.p95Ms': 7, 'flyball.scope.backend': 'fake' })
    expect(move?.events[0]).toMatchObject({ name: 'flyball.knob_move', attributes: { knob: 'a.b', from: 1, to: 2, bound: 'max_up' } })
    await governor.close()
  })
})
