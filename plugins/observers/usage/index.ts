/** Who used how much: tokens and cost by tenant. A tenant is a hash unless the host maps it. */
import { z } from 'zod'
import { definePlugin, instrument, label, type Usage } from '../../../src/index.ts'

const perMillion = z.number().min(0)
const price = z.strictObject({
  /** Per million input tokens. */
  input: perMillion,
  output: perMillion,
  /** Input tokens that came from a prompt cache. Default: as `input`. */
  cachedInput: perMillion.optional(),
  /** Input tokens written into one. Default: as `input`. */
  cacheWrite: perMillion.optional(),
})
type Price = z.output<typeof price>

const options = z.strictObject({
  /** By model, in whatever currency you count in. Models that are not here cost nothing. */
  prices: z.record(z.string(), price).default({}),
})

/** Past this many tenants the rest share `_other`: a metric with a series per customer would not survive its success. */
const MAX_TENANTS = 64
const tenant = label('Hash of the credential, or what the host maps it to; `_other` past the first 64.', MAX_TENANTS)

export const usage = definePlugin({
  name: 'usage',
  phase: 'observe',
  doc: 'Tokens and cost by tenant, bounded.',
  options,
  declares: {
    instruments: {
      tokens: instrument({ name: 'flyball.tenant_tokens', kind: 'counter', unit: '{token}', doc: 'Tokens of settled calls by tenant.', labels: { tenant, kind: label('Which tokens.', 3, ['input', 'output', 'cached_input']) } }),
      cost: instrument({ name: 'flyball.tenant_cost', kind: 'counter', unit: '1', doc: 'Cost of settled calls by tenant, in the currency of the configured prices.', labels: { tenant, model: label('Model with a price.', 32) } }),
    },
  },
  create(host, { prices }) {
    return {
      handler: async function usageHandler(call, next) {
        call.onSettle((settlement) => {
          const used = settlement.usage
          const who = { tenant: call.tenant }
          if (used.inputTokens > 0) host.instruments.tokens.add(used.inputTokens, { ...who, kind: 'input' })
          if (used.outputTokens > 0) host.instruments.tokens.add(used.outputTokens, { ...who, kind: 'output' })
          if (used.cachedInputTokens) host.instruments.tokens.add(used.cachedInputTokens, { ...who, kind: 'cached_input' })
          // An answer from our own cache was paid for before.
          if (call.timings.dispatchedMs === undefined || !Object.hasOwn(prices, call.model)) return
          const cost = costOf(used, prices[call.model] as Price)
          if (cost > 0) host.instruments.cost.add(cost, { ...who, model: call.model })
        })
        return next(call)
      },
    }
  },
})

export function costOf(used: Usage, { input, output, cachedInput = input, cacheWrite = input }: Price): number {
  const cached = used.cachedInputTokens ?? 0
  const written = used.cacheWriteTokens ?? 0
  return ((used.inputTokens - cached - written) * input + cached * cachedInput + written * cacheWrite + used.outputTokens * output) / 1e6
}
