/** An instant query of a Prometheus server: where to ask, and what its answer says. */
import { z } from 'zod'
import { ScrapeError } from './fetch-text.ts'
import { inOurUnit, type OutsideSignal } from './maps.ts'
import { MAX_SERIES, valueOf } from './text-format.ts'

const sample = z.tuple([z.number(), z.string()])
const answer = z.object({
  status: z.literal('success'),
  data: z.union([
    z.object({ resultType: z.literal('vector'), result: z.array(z.object({ value: sample })) }),
    z.object({ resultType: z.literal('scalar'), result: sample }),
  ]),
})

export function queryUrl(server: string, query: string): string {
  const base = server.endsWith('/') ? server : `${server}/`
  return `${new URL('api/v1/query', base).href}?query=${encodeURIComponent(query)}`
}

/** Several series become one as `combine` says. Throws a `ScrapeError`: no sample at all is a failure, not 0. */
export function queryValue(text: string, signal: OutsideSignal, { combine, scale }: { combine: 'sum' | 'max'; scale: number }): number {
  let parsed
  try {
    parsed = answer.safeParse(JSON.parse(text))
  } catch {
    throw new ScrapeError('bad_reply')
  }
  if (!parsed.success) throw new ScrapeError('bad_reply')
  const { data } = parsed.data
  const samples = data.resultType === 'scalar' ? [data.result] : data.result.slice(0, MAX_SERIES).map(({ value }) => value)
  const values = samples.flatMap(([, value]) => inOurUnit(signal, valueOf(value) ?? Number.NaN, scale) ?? [])
  if (values.length === 0) throw new ScrapeError('no_metric')
  return combine === 'sum' ? values.reduce((a, b) => a + b, 0) : values.reduce((a, b) => Math.max(a, b))
}
