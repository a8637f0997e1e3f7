/**
 * The phases that break static settings, ready to be put behind one another. Rates are given in units of what the plant
 * can do (`capacityPerS`), so that the same phase fits any plant.
 */
import { bursts, diurnal, type Mix, type WorkloadPhase } from './workload.ts'

export interface PhaseSetting {
  /** Requests per second that the plant can serve within the targets. */
  readonly capacityPerS: number
  readonly mix: readonly Mix[]
  /** Multiplies all durations. */
  readonly stretch?: number
}

type PhaseMaker = (setting: PhaseSetting) => WorkloadPhase[]

const s = (setting: PhaseSetting, seconds: number): number => seconds * (setting.stretch ?? 1)
const at = (setting: PhaseSetting, seconds: number): number => s(setting, seconds) * 1_000
const load = (setting: PhaseSetting, name: string, share: number, durationS: number, more: Partial<WorkloadPhase> = {}): WorkloadPhase => ({ name, durationS: s(setting, durationS), perS: share * setting.capacityPerS, mix: setting.mix, ...more })

export const PHASES: Readonly<Record<string, PhaseMaker>> = {
  steady: (p) => [load(p, 'steady', 0.8, 40)],
  idle: (p) => [load(p, 'before idle', 0.7, 15), load(p, 'idle', 0, 40), load(p, 'after idle', 0.8, 15)],
  diurnal: (p) => [load(p, 'diurnal ramp', 0, 60, { perS: diurnal(0.1 * p.capacityPerS, 1.1 * p.capacityPerS, s(p, 60)) })],
  bursts: (p) => [load(p, 'bursts', 0, 40, { perS: bursts(1.8 * p.capacityPerS, 0.5, 1) })],
  overload: (p) => [load(p, 'before overload', 0.6, 15), load(p, 'overload 3x', 3, 20), load(p, 'after overload', 0.7, 30)],
  slowdown: (p) => [load(p, 'before slowdown', 0.4, 15), load(p, 'slow 3x', 0.4, 25, { faults: [{ kind: 'slowdown', atMs: 0, factor: 3 }] }), load(p, 'recovered', 0.7, 25, { faults: [{ kind: 'slowdown', atMs: 0, factor: 1 }] })],
  lengths: (p) => [load(p, 'short answers', 0.7, 25), load(p, 'long answers', 0.12, 40, { mix: p.mix.map((mix) => ({ ...mix, outputTokens: (mix.outputTokens ?? 1) * 6 })) })],
  aborts: (p) => [load(p, 'aborts', 1.1, 40, { mix: p.mix.map((mix) => ({ ...mix, aborts: { share: 0.3, afterMs: 300 } })) })],
  abusive: (p) => [
    load(p, 'before abuse', 0.6, 15, { mix: tenants(p.mix, [1, 1, 1, 1]) }),
    load(p, 'abusive tenant', 2.2, 30, { mix: tenants(p.mix, [12, 1, 1, 1]) }),
  ],
  capacity: (p) => [load(p, 'small', 0.9, 20), load(p, 'grown', 1.7, 35, { faults: [{ kind: 'slowdown', atMs: 0, factor: 0.5 }] })],
  refusals: (p) => [load(p, 'before 429', 0.6, 15), load(p, '429 regime', 0.6, 20, { faults: [{ kind: 'refuse', atMs: 0, share: 0.3 }, { kind: 'refuse', atMs: at(p, 20), share: 0 }] }), load(p, 'after 429', 0.6, 20)],
  quota: (p) => [load(p, 'full quota', 0.8, 30), load(p, 'quota cut', 0.8, 40, { faults: [{ kind: 'quota', atMs: 0, share: 0.5 }] }), load(p, 'quota back', 0.8, 30, { faults: [{ kind: 'quota', atMs: 0, share: 1 }] })],
  timeouts: (p) => [load(p, 'before timeouts', 0.6, 15), load(p, 'all time out', 0.6, 15, { faults: [{ kind: 'timeouts', atMs: 0, afterMs: 2_000 }, { kind: 'timeouts', atMs: at(p, 15), afterMs: null }] }), load(p, 'after timeouts', 0.6, 30)],
  dropout: (p) => [load(p, 'before dropout', 0.7, 15), load(p, 'sensors silent', 0.7, 100, { faults: [{ kind: 'sensors', atMs: 0, dropped: true }, { kind: 'sensors', atMs: at(p, 100), dropped: false }] }), load(p, 'sensors back', 0.7, 25)],
  clocks: (p) => [load(p, 'clock jumps', 0.7, 30, { faults: [{ kind: 'wall-jump', atMs: at(p, 10), byMs: -3_600_000 }, { kind: 'wall-jump', atMs: at(p, 15), byMs: 86_400_000 }, { kind: 'suspend', atMs: at(p, 20), forMs: 5_000 }] })],
  crash: (p) => [load(p, 'before crash', 0.6, 15), load(p, 'crash', 0.6, 30, { faults: [{ kind: 'down', atMs: 0, down: true }, { kind: 'down', atMs: at(p, 5), down: false }, { kind: 'reset', atMs: at(p, 15) }] })],
}

/** The same mix, split over tenants by weight. */
export function tenants(mix: readonly Mix[], weights: readonly number[]): Mix[] {
  return mix.flatMap((one) => weights.map((weight, i) => ({ ...one, tenant: `tenant-${i}`, share: one.share * weight })))
}
