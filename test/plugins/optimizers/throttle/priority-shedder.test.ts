import { describe, expect, it } from 'vitest'
import { PriorityShedder } from '../../../../plugins/optimizers/throttle/priority-shedder.ts'

/** Three of four arrivals are urgent (0), one is not (10). */
function late(shedder: PriorityShedder, starts: number): void {
  for (let i = 0; i < starts; i++) {
    shedder.arrived(i % 4 === 0 ? 10 : 0)
    shedder.started(true, 0.05)
  }
}

describe('priority shedder', () => {
  it('turns away the least urgent first, while calls start late', () => {
    const shedder = new PriorityShedder(() => 0.5)
    expect(shedder.turnsAway(10)).toBe(false)
    late(shedder, 40)
    expect(shedder.rate).toBeGreaterThan(0.25)
    expect(shedder.turnsAway(10)).toBe(true)
  })

  it('turns nobody away once it is calm, however long the overload was', () => {
    const shedder = new PriorityShedder(() => 0)
    late(shedder, 5_000)
    expect(shedder.rate).toBeGreaterThan(0.5)
    shedder.calm()
    expect([shedder.rate, shedder.turnsAway(10), shedder.turnsAway(0)]).toEqual([0, false, false])
    // Nor does what was wound up come back with the next late start.
    shedder.arrived(0)
    shedder.started(true, 0.05)
    expect(shedder.rate).toBe(0)
  })

  it('lets a share in even of a class that would be shed whole', () => {
    let draw = 0
    const shedder = new PriorityShedder(() => (draw = (draw + 0.01) % 1))
    late(shedder, 5_000)
    let entered = 0
    for (let i = 0; i < 1_000; i++) if (!shedder.turnsAway(10)) entered++
    expect(entered).toBeGreaterThan(20)
    expect(entered).toBeLessThan(100)
  })
})
