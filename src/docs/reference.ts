/** The reference tables, from the declarations themselves: whatever a governor's parts declare is in them. */
import { ERRORS } from '../core/errors.ts'
import type { Governor } from '../governor-contract.ts'
import { knobEnvName } from '../knobs/knob-spec.ts'
import { prometheusName } from '../telemetry/instrument-spec.ts'

/** Markdown with a section each for knobs, loops, signals, instruments and errors. Same declarations, same text. */
export function referenceMarkdown(governor: Pick<Governor, 'knobs' | 'signals' | 'instruments' | 'loop'>): string {
  const knobs = [...governor.knobs.all()].map(({ spec }) => spec).sort(byName)
  const signals = [...governor.signals.all()].map(({ spec }) => spec).sort(byName)
  const instruments = [...governor.instruments.all()].sort(byName)
  const controllers = [...governor.loop.controllers].sort(byName)
  return [
    '# Reference',
    'Generated from the declarations; do not edit.',
    '## Knobs',
    'Effective value = pin ?? experiment ?? fallback ?? controller ?? start value (environment, then config, then default).',
    table(
      ['knob', 'default', 'bounds', 'unit', 'one per', 'turned by', 'one move', 'safe direction', 'environment', 'what it does'],
      knobs.map((spec) => [
        code(spec.name), number(spec.default), `${number(spec.min)} – ${number(spec.max)}`, spec.unit, spec.scope.join(', ') || '–',
        governor.knobs.ownerOf(spec.name) ?? (spec.tunable ? '–' : 'operator only'), spec.tunable ? `×${number(spec.maxDown)} … ×${number(spec.maxUp)}` : '–', spec.safeDirection, code(knobEnvName(spec.name)), spec.doc,
      ]),
    ),
    '## Loops',
    table(
      ['loop', 'one per', 'reads', 'turns', 'decides every', 'what it does'],
      controllers.map((controller) => [
        controller.name, controller.scope.join(', ') || '–', Object.values(controller.reads).map((read) => code(read.signal)).join(' '), controller.turns.map(code).join(' '),
        `≥ ${controller.every.minSamples} samples and ≥ ${number(controller.every.minMs)} ms`, controller.doc,
      ]),
    ),
    '## Signals',
    table(
      ['signal', 'unit', 'one per', 'read as', 'window', 'stale after', 'what it says'],
      signals.map((spec) => [code(spec.name), spec.unit, spec.scope.join(', ') || '–', spec.aggregate === 'quantile' ? `p${number(spec.quantile * 100)}` : spec.aggregate, `${number(spec.windowMs)} ms`, `${number(spec.staleAfterMs)} ms`, spec.doc]),
    ),
    '## Instruments',
    table(
      ['instrument', 'at `/metrics`', 'kind', 'unit', 'labels', 'what it counts'],
      instruments.map((spec) => [code(spec.name), code(prometheusName(spec)), spec.kind, spec.unit, Object.keys(spec.labels).map(code).join(' ') || '–', spec.doc]),
    ),
    '## Errors',
    table(['code', 'status', 'settles as', 'message'], Object.entries(ERRORS).map(([name, spec]) => [code(name), String(spec.status), spec.outcome, spec.message])),
    '',
  ].join('\n\n')
}

const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1)
const code = (text: string): string => `\`${text}\``
const number = (value: number): string => String(value)
const escape = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ')

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.map(escape).join(' | ')} |`).join('\n')
}
