/** Requests through the server's own front door before it says that it is ready: the first client's would run code for the first time. */
import { request } from 'undici'
import type { Logger } from '../core/plugin.ts'
import type { Governor } from '../governor-contract.ts'

/** Enough for the compiler to have seen the path. */
const REQUESTS = 24
const TOKENS = 32
/** A large model answers slowly, compiled or not: it is not rehearsed for longer than this, ms. */
const MOST_MS = 2_000
/** Prompts of so many sentences in turn: an engine reads a long one by other code, into other memory, than a short one. */
const SENTENCES = [1, 2, 4, 8, 16] as const
const SENTENCE = 'Hello, and how do you do today? '

/**
 * Only for models in this process: a hosted one would be paid for. What it does is counted like any call, under the class
 * that names none. Never rejects: a server that cannot rehearse is still a server.
 */
export async function rehearse(governor: Governor, url: string, log: Logger): Promise<void> {
  const models = governor.backends().flatMap((backend) => (backend.inProcess && !backend.private && backend.models !== '*' ? backend.models : []))
  for (const model of models) {
    const startMs = governor.clock.monoMs()
    for (let i = 0; i < REQUESTS && governor.clock.monoMs() - startMs < MOST_MS; i++) {
      const content = `${i}. ${SENTENCE.repeat(SENTENCES[i % SENTENCES.length] as number)}`
      const body = JSON.stringify({ model, temperature: 0, max_tokens: TOKENS, stream: i % 2 === 1, messages: [{ role: 'user', content }] })
      try {
        const reply = await request(`${url}/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json', 'cache-control': 'no-store' }, body })
        await reply.body.dump()
        if (reply.statusCode !== 200) return
      } catch (error) {
        log.debug({ err: error }, 'no rehearsal')
        return
      }
    }
  }
}
