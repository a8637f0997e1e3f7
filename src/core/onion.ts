/** Composes the per-call handlers: the first listed is outermost. */
import type { Call } from './call.ts'
import { FlyballError } from './errors.ts'
import type { Reply } from './reply.ts'

export type Send = (call: Call) => Promise<Reply>
export type Handler = (call: Call, next: Send) => Promise<Reply>

/**
 * `next` may be called at most once per handler and call: a second upstream try is `host.attempt`, which has a signal and
 * a settlement of its own.
 */
export function compose(handlers: readonly Handler[], innermost: Send): Send {
  let send = innermost
  for (const handler of [...handlers].reverse()) {
    const inner = send
    send = (call) => {
      let called = false
      const next: Send = (sent) => {
        if (called) return Promise.reject(new FlyballError('internal', { message: `handler ${handler.name || '(unnamed)'} called next twice` }))
        called = true
        return inner(sent)
      }
      return handler(call, next).then((reply) => {
        // A forgotten `await` or `return` would otherwise surface far away, as a TypeError in the edge.
        if (!reply) throw new FlyballError('internal', { message: `handler ${handler.name || '(unnamed)'} returned no reply` })
        return reply
      })
    }
  }
  return send
}
