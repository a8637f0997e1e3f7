/**
 * Looks at the governor once a second and keeps half an hour of it: rows of numbers, stories, slow calls. Everything is
 * bounded and serialised once, whoever watches.
 */
import type { Cancel } from '../../core/clock.ts'
import type { Governor } from '../../governor-contract.ts'
import { CallTally } from './call-tally.ts'
import { metaOf, metaVersion, stateOf, Watched, writeGauges } from './governor-view.ts'
import { SeriesTable } from './series-table.ts'
import { SlowCalls } from './slow-calls.ts'
import { Stories } from './stories.ts'
import { eventFrame, type Viewers } from './viewers.ts'

export const SAMPLE_MS = 1_000
export const KEPT_SAMPLES = 1_800

export interface RecorderOptions {
  /** Added to each second's state. */
  extras: () => Record<string, unknown>
  /** Added to what a new viewer gets. */
  abilities: unknown
}

export class Recorder {
  readonly #governor: Governor
  readonly #viewers: Viewers
  readonly #options: RecorderOptions
  readonly #tally = new CallTally()
  readonly #series = new SeriesTable()
  readonly #slow: SlowCalls
  readonly #stories: Stories
  readonly #watched: Watched
  readonly #boot: string
  /** Ring of serialised rows `[t,…]`; the next one goes to `#next`. */
  readonly #rows: string[] = []
  #next = 0
  #sentNames = 0
  #sentMeta: string
  /** The greeting of this second, shared by all who come in it. */
  #greeting: Buffer | undefined
  #timer: Cancel | undefined
  readonly #undo: (() => void)[]

  constructor(governor: Governor, viewers: Viewers, options: RecorderOptions) {
    this.#governor = governor
    this.#viewers = viewers
    this.#options = options
    this.#boot = governor.clock.id()
    this.#slow = new SlowCalls((model) => governor.modelLabel(model))
    this.#stories = new Stories(governor)
    this.#watched = new Watched(governor)
    this.#sentMeta = metaVersion(governor)
    this.#undo = [
      governor.onCallSettled((call) => {
        this.#tally.add(call)
        this.#slow.add(call)
      }),
      governor.decisions.onDecision((record) => this.#stories.tell(record)),
    ]
    this.#later()
  }

  stop(): void {
    this.#timer?.()
    this.#timer = undefined
    for (const undo of this.#undo.splice(0)) undo()
  }

  #later(): void {
    this.#timer = this.#governor.clock.after(SAMPLE_MS, () => {
      this.#later()
      try {
        this.tick()
      } catch (error) {
        // The console must never take the gateway with it.
        this.#governor.log.error({ err: error }, 'the console could not take its sample')
      }
    })
  }

  /** Ends a second: keeps its row and tells the viewers. */
  tick(): void {
    const governor = this.#governor
    const views = governor.loopViews()
    const t = Math.round(governor.clock.wallMs())
    this.#series.begin()
    this.#tally.write(this.#series)
    writeGauges(governor, views, this.#watched, this.#series)
    const row = JSON.stringify([t, ...this.#series.row])
    this.#rows[this.#next] = row
    this.#next = (this.#next + 1) % KEPT_SAMPLES
    this.#greeting = undefined
    const slow = this.#slow.roll(t)
    const { stories, outcomes } = this.#stories.roll()
    if (this.#viewers.size === 0) return
    const names = this.#series.names.slice(this.#sentNames)
    const meta = metaVersion(governor)
    const more = {
      ...(names.length === 0 ? {} : { names: { from: this.#sentNames, list: names } }),
      ...(meta === this.#sentMeta ? {} : { meta: metaOf(governor) }),
      ...(outcomes.length === 0 ? {} : { outcomes }),
      ...(slow.length === 0 ? {} : { slow }),
      state: { ...stateOf(governor, views, this.#watched), ...this.#options.extras() },
    }
    this.#sentNames = this.#series.names.length
    this.#sentMeta = meta
    this.#viewers.send(eventFrame('tick', `{"row":${row},"stories":[${stories.join(',')}],${JSON.stringify(more, plain).slice(1)}`))
  }

  /** All that is kept, for somebody who has just come. */
  greeting(): Buffer {
    if (this.#greeting) return this.#greeting
    const governor = this.#governor
    const full = this.#rows.length === KEPT_SAMPLES
    const rows = full ? [...this.#rows.slice(this.#next), ...this.#rows.slice(0, this.#next)] : this.#rows
    const { stories, outcomes } = this.#stories.all()
    const rest = {
      boot: this.#boot,
      now: Math.round(governor.clock.wallMs()),
      names: { from: 0, list: this.#series.names },
      dropped: this.#series.dropped,
      meta: metaOf(governor),
      outcomes,
      slow: this.#slow.recent(),
      abilities: this.#options.abilities,
      state: { ...stateOf(governor, governor.loopViews(), this.#watched), ...this.#options.extras() },
    }
    // What was new since the last tick is in here; the next tick must tell the others of it too, so nothing is marked sent
    // unless nobody else watches.
    if (this.#viewers.size === 0) {
      this.#sentNames = this.#series.names.length
      this.#sentMeta = metaVersion(governor)
    }
    this.#greeting = eventFrame('hello', `{"rows":[${rows.join(',')}],"stories":[${stories.join(',')}],${JSON.stringify(rest, plain).slice(1)}`)
    return this.#greeting
  }
}

/** JSON has no infinities. */
function plain(_key: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isFinite(value) ? null : value
}
