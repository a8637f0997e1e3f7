import { propagation, trace, TraceFlags, type SpanContext, type TextMapPropagator } from '@opentelemetry/api'
import { afterEach, describe, expect, it } from 'vitest'
import { credentialOf, forwardHeaders, hasHeader, injectTrace, setHeader } from '../../src/upstream/forward-headers.ts'

afterEach(() => propagation.disable())

const span: SpanContext = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', traceFlags: TraceFlags.SAMPLED }

/** What the SDK registers, in short. */
const propagator: TextMapPropagator = {
  inject(context, carrier, setter) {
    const { traceId, spanId } = trace.getSpanContext(context) as SpanContext
    setter.set(carrier, 'traceparent', `00-${traceId}-${spanId}-01`)
  },
  extract: (context) => context,
  fields: () => ['traceparent'],
}

describe('forwardHeaders', () => {
  it('keeps case, order and repeats', () => {
    expect(forwardHeaders(['X-B', '1', 'x-a', '2', 'X-B', '3'], false)).toEqual(['X-B', '1', 'x-a', '2', 'X-B', '3'])
  })

  it('drops what belongs to the client\'s connection, in any case', () => {
    const dropped = ['Host', 'CONNECTION', 'Keep-Alive', 'TE', 'Trailer', 'Transfer-Encoding', 'Upgrade', 'Content-Length', 'Expect', 'Accept-Encoding', 'Cookie', 'Proxy-Authorization', 'X-Flyball-Class']
    expect(forwardHeaders(dropped.flatMap((name) => [name, 'keep-alive']), true)).toEqual([])
  })

  it('drops headers that connection names', () => {
    expect(forwardHeaders(['Connection', 'keep-alive, X-Hop', 'x-hop', '1', 'x-stays', '2'], false)).toEqual(['x-stays', '2'])
  })

  it('lets credentials pass only when told', () => {
    const headers = ['Authorization', 'Bearer a', 'X-Api-Key', 'b', 'api-key', 'c']
    expect(forwardHeaders(headers, false)).toEqual([])
    expect(forwardHeaders(headers, true)).toEqual(headers)
    expect(credentialOf(headers)).toBe('a')
    expect(credentialOf(['x-api-key', 'b'])).toBe('b')
    expect(credentialOf([])).toBeUndefined()
  })
})

describe('setHeader', () => {
  it('replaces in any case, else adds', () => {
    const headers = ['Content-Type', 'text/plain']
    setHeader(headers, 'content-type', 'application/json')
    setHeader(headers, 'x-new', '1')
    expect(headers).toEqual(['Content-Type', 'application/json', 'x-new', '1'])
    expect(hasHeader(headers, 'x-new')).toBe(true)
    expect(hasHeader(headers, 'x-old')).toBe(false)
  })
})

describe('injectTrace', () => {
  it('puts the attempt in the client\'s place', () => {
    propagation.setGlobalPropagator(propagator)
    const headers = ['traceparent', '00-11111111111111111111111111111111-2222222222222222-01', 'x-a', '1']
    injectTrace(headers, trace.wrapSpanContext(span))
    expect(headers).toEqual(['traceparent', `00-${span.traceId}-${span.spanId}-01`, 'x-a', '1'])
  })

  it('lets the client\'s own pass where nobody registered a propagator', () => {
    const headers = ['traceparent', 'theirs']
    injectTrace(headers, trace.wrapSpanContext(span))
    expect(headers).toEqual(['traceparent', 'theirs'])
  })
})
