/**
 * Ten questions that somebody on call asks, answered from the control-loop board's queries alone, in ten situations; the
 * truth comes from the governor's own objects. What the questions are: see ANSWERS.
 */
import { afterAll, beforeAll, expect } from 'vitest'
import { generate } from '../../../dashboards/generate.ts'
import { panelsOf, type BoardJson } from '../../../dashboards/lint.ts'
import { declaredIn } from '../../../src/cli/dashboards.ts'
import { listen, type Listening } from '../../support/listen.ts'
import { need } from '../../support/need.ts'
import { fillIn } from './grafana.ts'
import { startPrometheus, type Prometheus, type SeriesResult } from './prometheus.ts'
import { buildSituations, SITUATIONS, SIZE_KNOB, WATCHED, type Situation } from './situations.ts'

const prometheusNeed = need('prometheus')
const MODES = ['learn', 'active', 'hold', 'fallback']

/** Asks one query of the board, by its panel and legend, for one instance. */
type Ask = (panel: string, legend: string) => Promise<SeriesResult[]>
type Answer = unknown

interface Question {
  readonly asks: string
  /** From the board. */
  readonly board: (ask: Ask) => Promise<Answer>
  /** From the governor itself. */
  readonly truth: (situation: Situation) => Answer
}

const number = (results: SeriesResult[]): number | null => results[0]?.values[0]?.[1] ?? null
const label = (results: SeriesResult[], name: string): string | null => results[0]?.metric[name] ?? null
const seconds = (ms: number | null): number | null => (ms === null ? null : Math.round(ms / 1_000))

const view = ({ governor }: Situation) => governor.loopViews()[0]
const cell = ({ governor }: Situation) => governor.knobs.get(SIZE_KNOB.name).for({ backend: 'x' })
const lastMoved = ({ governor }: Situation) => governor.decisions.recent(100, (record) => !record.dry && record.moves.length > 0)[0]
const lastReviewed = ({ governor }: Situation) => governor.decisions.recent(100, (record) => !record.dry && record.outcome !== undefined)[0]
const MOVES = 'Latest move of each knob'
const EFFECTS = 'What the latest reviewed move brought'

const QUESTIONS: readonly Question[] = [
  {
    asks: 'Which mode is the loop in?',
    board: async (ask) => MODES[number(await ask('Loops', 'Mode')) ?? -1],
    truth: (one) => view(one)?.mode,
  },
  {
    asks: 'Since when?',
    board: async (ask) => seconds(number(await ask('Loops', 'In it since'))),
    truth: (one) => seconds(one.clock.wallMs() - (one.clock.monoMs() - (view(one)?.modeSinceMs ?? 0))),
  },
  {
    asks: 'Which loops are in hold or fallback, and which signal is to blame?',
    board: async (ask) => [number(await ask('In hold or fallback', 'loops')), (await ask('Stale signals', '{{signal}}')).filter(({ values }) => values[0]?.[1] === 1).map(({ metric }) => metric['signal'])],
    truth: (one) => [one.governor.loopViews().filter(({ mode }) => mode === 'hold' || mode === 'fallback').length, one.governor.signals.get(WATCHED.name).for({ backend: 'x' }).read().status === 'stale' ? [WATCHED.name] : []],
  },
  {
    asks: 'What is the pack size now, and what may it be?',
    board: async (ask) => [number(await ask('Knob pack.size', '{{scope}}')), number(await ask('Knob pack.size', 'lowest')), number(await ask('Knob pack.size', 'highest'))],
    truth: (one) => [cell(one).value, SIZE_KNOB.min, SIZE_KNOB.max],
  },
  {
    asks: 'Who decided that: an operator, a fallback, the loop, or nobody?',
    board: async (ask) => label((await ask('Who rules each knob', 'Value')).filter(({ metric }) => metric['knob'] === SIZE_KNOB.name), 'layer'),
    truth: (one) => cell(one).layer,
  },
  {
    asks: 'Why was it moved last, and when?',
    board: async (ask) => [label(await ask(MOVES, 'Moved'), 'reason'), seconds(number(await ask(MOVES, 'Moved')))],
    truth: (one) => [lastMoved(one)?.why.reason ?? null, seconds(lastMoved(one)?.wallMs ?? null)],
  },
  {
    asks: 'From where to where, what did the loop wish for, and what cut that short?',
    board: async (ask) => [number(await ask(MOVES, 'From')), number(await ask(MOVES, 'To')), number(await ask(MOVES, 'Wished')), label(await ask(MOVES, 'Moved'), 'bound')],
    truth: (one) => {
      const move = lastMoved(one)?.moves[0]
      return move ? [move.from, move.to, move.wish, move.bound ?? 'none'] : [null, null, null, null]
    },
  },
  {
    asks: 'What does the loop see, and where does it want that to be?',
    board: async (ask) => [number(await ask('pack: sees, wants, expects', 'sees {{scope}}')), number(await ask('pack: sees, wants, expects', 'wants {{scope}}'))],
    truth: (one) => {
      const { readings, why } = view(one) ?? {}
      return [readings?.['run']?.status === 'fresh' ? (why?.numbers['observedMs'] ?? null) : null, why?.numbers['targetMs'] ?? null]
    },
  },
  {
    asks: 'What did the last move bring?',
    board: async (ask) => [number(await ask(EFFECTS, 'Before')), number(await ask(EFFECTS, 'After')), label(await ask(EFFECTS, 'Verdict'), 'verdict'), label(await ask(EFFECTS, 'Verdict'), 'reverted')],
    truth: (one) => {
      const outcome = lastReviewed(one)?.outcome
      return outcome ? [finite(outcome.attainmentBefore), finite(outcome.attainmentAfter), outcome.verdict, outcome.reverted ? 'yes' : 'no'] : [null, null, null, null]
    },
  },
  {
    asks: 'Do the loops turn anything at all, or is this a dry run?',
    board: async (ask) => number(await ask('Dry run', 'instances')) === 1,
    truth: (one) => one.governor.loop.dryRun,
  },
]

const finite = (value: number): number | null => (Number.isFinite(value) ? value : null)

prometheusNeed.describe('ten questions in ten situations', () => {
  let situations: Situation[]
  let server: Listening
  let prometheus: Prometheus
  let board: BoardJson

  beforeAll(async () => {
    situations = await buildSituations()
    board = JSON.parse(generate(declaredIn((situations[0] as Situation).governor), { naming: 'metrics' }).get('control-loop.json') ?? '') as BoardJson
    const pages = new Map(situations.map(({ name, governor, exporter }) => [`/${name}`, governor.metrics({ exporter })]))
    server = await listen((req, res) => {
      const page = pages.get(req.url ?? '')
      if (page) page(req, res)
      else res.writeHead(404).end()
    })
    prometheus = await startPrometheus([{ name: 'situations', targets: situations.map(({ name }) => ({ address: server.url.replace('http://', ''), instance: name, path: `/${name}` })) }])
    const all = `count(flyball_loop_dry_run)`
    for (let i = 0; i < 60 && (await prometheus.query(all))[0]?.values[0]?.[1] !== situations.length; i++) await new Promise((resolve) => setTimeout(resolve, 500))
  }, 60_000)

  afterAll(async () => {
    await prometheus?.close()
    await server?.close()
    await Promise.all((situations ?? []).map(({ governor }) => governor.close()))
  })

  prometheusNeed.it('the situations differ', () => {
    expect(situations.map((one) => view(one)?.mode)).toEqual(['active', 'active', 'active', 'active', 'hold', 'fallback', 'active', 'active', 'active', 'active'])
    expect(situations.map((one) => cell(one).layer)).toEqual(['start', 'controller', 'controller', 'controller', 'start', 'fallback', 'pin', 'start', 'controller', 'controller'])
    expect(situations.map((one) => lastReviewed(one)?.outcome?.verdict)).toEqual([...Array<undefined>(8), 'better', 'worse'])
    expect(lastMoved(situations[9] as Situation)?.why.reason).toBe('revert')
  })

  prometheusNeed.it.each(SITUATIONS.flatMap((name) => QUESTIONS.map((question) => [name, question.asks, question] as const)))('%s: %s', async (name, _, question) => {
    const situation = situations.find((one) => one.name === name) as Situation
    const ask: Ask = async (title, legend) => {
      const target = panelsOf(board).find((panel) => panel.title === title)?.targets?.find(({ legendFormat }) => legendFormat === legend)
      if (!target) throw new Error(`the board has no ${title} / ${legend}`)
      return prometheus.query(fillIn(target.expr, { choice: { job: 'All', instance: [name], backend: 'All', model: 'All' }, rateInterval: '4s', range: '30s' }))
    }
    expect(await question.board(ask)).toEqual(question.truth(situation))
  })
})
