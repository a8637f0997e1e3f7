import { describe, expect, it } from 'vitest'
import { readRateLimits } from '../../src/index.ts'

const clock = { wallMs: () => Date.parse('2026-01-01T00:00:00Z') }
const read = (headers: Record<string, string>) => readRateLimits(Object.entries(headers).flat(), clock)

describe('readRateLimits', () => {
  it('reads OpenAI\'s', () => {
    expect(read({ 'x-ratelimit-limit-requests': '5000', 'x-ratelimit-remaining-requests': '4999', 'x-ratelimit-reset-requests': '12ms', 'X-RateLimit-Limit-Tokens': '160000', 'X-RateLimit-Remaining-Tokens': '159976', 'X-RateLimit-Reset-Tokens': '6m0s' })).toEqual({
      requests: { limit: 5000, remaining: 4999, resetMs: 12 },
      tokens: { limit: 160_000, remaining: 159_976, resetMs: 360_000 },
    })
  })

  it('reads Anthropic\'s', () => {
    expect(read({ 'anthropic-ratelimit-input-tokens-limit': '50000', 'anthropic-ratelimit-input-tokens-remaining': '49000', 'anthropic-ratelimit-input-tokens-reset': '2026-01-01T00:00:30Z', 'anthropic-ratelimit-output-tokens-limit': '8000', 'anthropic-ratelimit-requests-reset': '2025-12-31T23:59:00Z', 'retry-after': '7' })).toEqual({
      requests: { resetMs: 0 },
      inputTokens: { limit: 50_000, remaining: 49_000, resetMs: 30_000 },
      outputTokens: { limit: 8_000 },
      retryAfterMs: 7_000,
    })
  })

  it('prefers retry-after-ms, and reads dates', () => {
    expect(read({ 'retry-after': '7', 'retry-after-ms': '1250.5' }).retryAfterMs).toBe(1_250.5)
    expect(read({ 'retry-after': 'Thu, 01 Jan 2026 00:00:05 GMT' }).retryAfterMs).toBe(5_000)
  })

  it('reads resets given as seconds and as times', () => {
    expect(read({ 'x-ratelimit-reset-requests': '1.5' }).requests).toEqual({ resetMs: 1_500 })
    expect(read({ 'x-ratelimit-reset-requests': String(clock.wallMs() / 1_000 + 3) }).requests).toEqual({ resetMs: 3_000 })
    expect(read({ 'x-ratelimit-reset-requests': String(clock.wallMs() + 3) }).requests).toEqual({ resetMs: 3 })
  })

  it.each([
    { 'x-ratelimit-limit-requests': '-1', 'x-ratelimit-remaining-requests': '-1', 'x-ratelimit-reset-requests': '-1' },
    { 'x-ratelimit-limit-tokens': '0', 'x-ratelimit-remaining-tokens': '0' },
    { 'x-ratelimit-limit-requests': 'unlimited', 'x-ratelimit-reset-requests': 'soon' },
    { 'x-ratelimit-limit-requests': '1e400', 'retry-after': 'NaN', 'retry-after-ms': '' },
    { 'x-ratelimit-limit-cucumbers': '5', 'retry-after': '99999999999' },
    {},
  ] as Record<string, string>[])('ignores what makes no sense: %j', (headers) => {
    expect(read(headers)).toEqual({})
  })
})
