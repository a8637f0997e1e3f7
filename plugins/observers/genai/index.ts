/** Metrics (and, when asked, prompts on spans) as OpenTelemetry's GenAI conventions name them. */
import { z } from 'zod'
import { definePlugin, OVERFLOW, type Call, type Settlement } from '../../../src/index.ts'
import { instruments, semconvFromEnvironment } from './conventions.ts'

const options = z.strictObject({
  /** Default: what `OTEL_SEMCONV_STABILITY_OPT_IN` says (`gen_ai_latest_experimental`, `gen_ai/dup`), else `v1.41`. */
  semconv: z.enum(['v1.41', 'latest', 'both']).optional(),
  /** Put what was asked on the call's span. Default: what `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` says, else no. */
  captureContent: z.boolean().optional(),
})

/** The conventions are about models: a wrapped function is none. */
const GENERATIVE: ReadonlySet<string> = new Set(['chat', 'completions', 'embeddings', 'messages', 'responses'])
/** The conventions' words for operations. */
const OPERATION: Readonly<Record<string, string>> = { completions: 'text_completion', messages: 'chat' }
/** Attributes of a span have to fit into an export. */
const MAX_CONTENT_CHARS = 32_768

export const genai = definePlugin({
  name: 'genai',
  phase: 'observe',
  doc: 'Metrics by OpenTelemetry’s GenAI conventions: v1.41, the latest draft, or both.',
  options,
  declares: { instruments },
  create(host, settings) {
    const semconv = settings.semconv ?? semconvFromEnvironment(process.env['OTEL_SEMCONV_STABILITY_OPT_IN'])
    const capture = settings.captureContent ?? process.env['OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT'] === 'true'
    const old = semconv !== 'latest'
    const latest = semconv !== 'v1.41'
    const record = host.instruments

    const isConfigured = (model: string): boolean => host.backends.some(({ models }) => models !== '*' && models.includes(model))

    function labelsOf(call: Call) {
      const backend = host.backends.find(({ name }) => name === call.facts.get('backend'))
      return {
        'gen_ai.operation.name': OPERATION[call.operation] ?? call.operation,
        'gen_ai.provider.name': backend?.provider ?? 'flyball',
        'gen_ai.request.model': isConfigured(call.model) ? call.model : OVERFLOW,
      }
    }

    function settled(call: Call, { outcome, reason, timings, usage }: Settlement): void {
      const labels = labelsOf(call)
      const endMs = timings.endMs ?? timings.createdMs
      const seconds = (endMs - timings.receivedMs) / 1_000
      const withError = { ...labels, 'error.type': outcome === 'ok' ? '' : (reason ?? outcome) }
      if (old) record.operationDuration.record(seconds, withError)
      if (latest) record.inferenceDuration.record(seconds, withError)
      record.requestDuration.record(seconds, withError)
      if (outcome !== 'ok') return
      if (timings.firstTokenMs !== undefined && call.stream) {
        record.timeToFirstToken.record((timings.firstTokenMs - timings.receivedMs) / 1_000, labels)
        if (usage.outputTokens > 1) record.timePerOutputToken.record((endMs - timings.firstTokenMs - timings.backpressureMs) / 1_000 / (usage.outputTokens - 1), labels)
      }
      if (old && usage.inputTokens > 0) record.tokenUsage.record(usage.inputTokens, { ...labels, 'gen_ai.token.type': 'input' })
      if (old && usage.outputTokens > 0) record.tokenUsage.record(usage.outputTokens, { ...labels, 'gen_ai.token.type': 'output' })
      if (!latest) return
      if (usage.inputTokens > 0) {
        record.inferenceInputTokens.record(usage.inputTokens, labels)
        record.usageInputTokens.add(usage.inputTokens, labels)
      }
      if (usage.outputTokens > 0) {
        record.inferenceOutputTokens.record(usage.outputTokens, labels)
        record.usageOutputTokens.add(usage.outputTokens, labels)
      }
    }

    return {
      handler: async function genaiHandler(call, next) {
        if (!GENERATIVE.has(call.operation)) return next(call)
        if (capture && call.span.isRecording()) call.span.setAttribute('gen_ai.input.messages', contentOf(call.input))
        call.onSettle((settlement) => settled(call, settlement))
        return next(call)
      },
    }
  },
})

function contentOf(input: unknown): string {
  const { messages, prompt, input: texts } = (input ?? {}) as { messages?: unknown; prompt?: unknown; input?: unknown }
  return (JSON.stringify(messages ?? prompt ?? texts) ?? '').slice(0, MAX_CONTENT_CHARS)
}
