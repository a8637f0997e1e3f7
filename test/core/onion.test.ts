import { describe, expect, it } from 'vitest'
import { compose, type Handler } from '../../src/core/onion.ts'
import { replyOf } from '../../src/core/reply.ts'
import { testCall } from '../support/calls.ts'
import { manualClock } from '../support/manual-clock.ts'

const call = testCall(manualClock())

describe('onion', () => {
  it('runs the first listed outermost', async () => {
    const seen: string[] = []
    const layer = (name: string): Handler => async (sent, next) => {
      seen.push(`>${name}`)
      const reply = await next(sent)
      seen.push(`<${name}`)
      return reply
    }
    await compose([layer('a'), layer('b')], async () => replyOf([]))(call)
    expect(seen).toEqual(['>a', '>b', '<b', '<a'])
  })

  it('refuses a second next', async () => {
    async function twice(...[sent, next]: Parameters<Handler>) {
      await next(sent)
      return next(sent)
    }
    await expect(compose([twice], async () => replyOf([]))(call)).rejects.toThrow('handler twice called next twice')
  })

  it('finds a handler that forgot to return its reply', async () => {
    const forgetful = (async (...[sent, next]: Parameters<Handler>) => void (await next(sent))) as unknown as Handler
    await expect(compose([forgetful], async () => replyOf([]))(call)).rejects.toThrow(/forgetful returned no reply/)
  })
})
