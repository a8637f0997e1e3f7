import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Chain, type Link } from '../../src/core/chain.ts'

describe('a chain', () => {
  it('holds what a list would, whatever is added and taken out', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.constant('add' as const), fc.nat(30)), { maxLength: 60 }), (steps) => {
        const chain = new Chain<number>()
        const links: Link<number>[] = []
        let model: number[] = []
        for (const step of steps) {
          if (step === 'add') {
            model.push(links.length)
            links.push(chain.add(links.length))
            continue
          }
          const link = links[step % Math.max(1, links.length)]
          if (!link) continue
          const value = link.value
          expect(chain.remove(link)).toBe(value !== undefined)
          model = model.filter((one) => one !== value)
          expect([link.value, link.before, link.after]).toEqual([undefined, undefined, undefined])
        }
        expect(chain.values()).toEqual(model)
        expect([chain.size, chain.first?.value]).toEqual([model.length, model[0]])
      }),
    )
  })
})
