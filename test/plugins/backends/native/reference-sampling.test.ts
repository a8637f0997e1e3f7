import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { GREEDY } from '../../../../plugins/backends/native/engine-contract.ts'
import type { SamplingParameters } from '../../../../plugins/backends/native/engine-contract.ts'
import { logprobsOf, Sampler, seeded } from '../../../../plugins/backends/native/sampling.ts'
import { StopStrings } from '../../../../plugins/backends/native/stop-strings.ts'

const logits = Float32Array.from([0.5, 0.25, 0.15, 0.06, 0.04].map(Math.log))

function counts(parameters: Partial<SamplingParameters>, draws = 4000): number[] {
  const sampler = new Sampler({ ...GREEDY, temperature: 1, seed: 3, ...parameters }, 5, [])
  const seen = [0, 0, 0, 0, 0]
  for (let draw = 0; draw < draws; draw++) {
    const token = sampler.next(logits)
    seen[token] = (seen[token] as number) + 1
  }
  return seen.map((count) => count / draws)
}

const near = (got: number[], wanted: number[]): void => wanted.forEach((share, token) => expect(Math.abs((got[token] as number) - share), `token ${token}`).toBeLessThan(share === 0 ? 1e-9 : 0.03))

describe('sampling', () => {
  it('draws as likely as the model says', () => near(counts({}), [0.5, 0.25, 0.15, 0.06, 0.04]))
  it('temperature sharpens', () => near(counts({ temperature: 0.5 }), [0.25, 0.0625, 0.0225, 0.0036, 0.0016].map((share) => share / 0.3402)))
  it('top-k', () => near(counts({ topK: 2 }), [2 / 3, 1 / 3, 0, 0, 0]))
  it('top-p keeps the fewest that reach it', () => near(counts({ topP: 0.8 }), [5 / 9, 2.5 / 9, 1.5 / 9, 0, 0]))
  it('top-p keeps at least one', () => near(counts({ topP: 0 }), [1, 0, 0, 0, 0]))
  it('min-p', () => near(counts({ minP: 0.29 }), [5 / 9, 2.5 / 9, 1.5 / 9, 0, 0]))
  it('greedy takes the first of the largest', () => {
    expect(new Sampler(GREEDY, 3, []).next(Float32Array.of(1, 2, 2))).toBe(1)
  })
  it('the repetition penalty counts prompt and output', () => {
    const sampler = new Sampler({ ...GREEDY, repetitionPenalty: 10 }, 3, [2])
    const scores = Float32Array.of(1, 2, 3)
    expect([sampler.next(scores), sampler.next(scores), sampler.next(scores)]).toEqual([1, 0, 2])
  })
  it('the same seed gives the same tokens, another seed others', () => {
    const draw = (seed: number): string => {
      const sampler = new Sampler({ ...GREEDY, temperature: 1, seed }, 5, [])
      return Array.from({ length: 40 }, () => sampler.next(logits)).join('')
    }
    expect(draw(7)).toBe(draw(7))
    expect(new Set([draw(1), draw(2), draw(3), draw(2 ** 32 + 1)]).size).toBe(4)
  })
  it('refuses broken logits', () => {
    expect(() => new Sampler(GREEDY, 2, []).next(Float32Array.of(NaN, NaN))).toThrow(/not finite/)
  })
  it('the generator is uniform', () => {
    const random = seeded(5)
    const values = Array.from({ length: 20_000 }, random)
    expect(Math.min(...values)).toBeGreaterThanOrEqual(0)
    expect(Math.max(...values)).toBeLessThan(1)
    expect(values.reduce((sum, value) => sum + value, 0) / values.length).toBeCloseTo(0.5, 2)
  })
})

describe('log probabilities', () => {
  it('are of the whole distribution, the likeliest first', () => {
    const { logprob, top } = logprobsOf(logits, 2, 3)
    expect(Math.exp(logprob)).toBeCloseTo(0.15, 5)
    expect(top.map(({ token }) => token)).toEqual([0, 1, 2])
    expect(Math.exp(top[0]?.logprob ?? 0)).toBeCloseTo(0.5, 5)
    expect(logprobsOf(logits, 0, 0).top).toEqual([])
    expect(logprobsOf(logits, 0, 20).top).toHaveLength(5)
  })
})

describe('stop strings', () => {
  it('hold back what may become one', () => {
    const stops = new StopStrings(['END', 'E!'])
    expect(stops.push('abE')).toEqual({ text: 'ab' })
    expect(stops.push('N')).toEqual({ text: '' })
    expect(stops.push('x')).toEqual({ text: 'ENx' })
    expect(stops.push('yEND more')).toEqual({ text: 'y', stop: 'END' })
    expect(new StopStrings([]).push('END')).toEqual({ text: 'END' })
    const open = new StopStrings(['END'])
    open.push('E')
    expect(open.end()).toBe('E')
  })

  it('find the same wherever the text is cut', () => {
    fc.assert(
      fc.property(fc.array(fc.stringMatching(/^[ab]{0,4}$/), { maxLength: 12 }), fc.array(fc.stringMatching(/^[ab]{1,4}$/), { minLength: 1, maxLength: 3 }), (pieces, names) => {
        const whole = pieces.join('')
        const found = names.map((name) => whole.indexOf(name)).filter((at) => at >= 0)
        const stops = new StopStrings(names)
        let text = ''
        let stop: string | undefined
        for (const piece of pieces) {
          const result = stops.push(piece)
          text += result.text
          stop = result.stop
          if (stop !== undefined) break
        }
        if (stop === undefined) {
          expect(found).toEqual([])
          expect(text + stops.end()).toBe(whole)
        } else {
          expect(names).toContain(stop)
          expect(whole.startsWith(text + stop)).toBe(true)
          // a longer one may begin earlier, but end later than where we stopped
          expect(text.length).toBeGreaterThanOrEqual(Math.min(...found))
        }
      }),
    )
  })
})
