/**
 * Requests through a server's own front door before it says that it is ready: the first client's would run code for the
 * first time, ten times as slow. Models in this process are asked themselves; upstreams would be paid for, so a stand-in answers.
 */
import { request } from 'undici'
import type { Config } from '../config/schema.ts'
import type { Logger } from '../core/plugin.ts'
import type { Governor } from '../governor-contract.ts'
import { protocols } from '../protocols/all.ts'
import { standIn } from './stand-in.ts'

/** Enough for the compiler to have seen the path. */
const REQUESTS = 24
const TOKENS = 32
/** A large model answers slowly, compiled or not: it is not rehearsed for longer than this, ms. */
const MOST_MS = 2_000
/** Prompts of so many sentences in turn: an engine reads a long one by other code, into other memory, than a short one. */
const SENTENCES = [1, 2, 4, 8, 16] as const
const SENTENCE = 'Hello, and how do you do today? '
/** What a client of any protocol may ask first. */
const CONVERSATIONS = protocols.flatMap(({ routes }) => routes.filter(({ operation }) => operation === 'chat' || operation === 'messages').map(({ path }) => path))

/** Counted like any call, under the class that names none. Never rejects: a server that cannot rehearse is still a server. */
export async function rehearseModels(governor: Governor, url: string, log: Logger): Promise<void> {
  const models = governor.backends().flatMap((backend) => (backend.inProcess && !backend.private && backend.models !== '*' ? backend.models : []))
  for (const model of models) await converse(governor, `${url}/chat/completions`, model, log, { 'cache-control': 'no-store' })
}

/** Counted nowhere. Never rejects. */
export async function rehearseUpstreams(governor: Governor, config: Config, file: string, log: Logger): Promise<void> {
  try {
    const stand = await standIn(config, file)
    if (!stand) return
    try {
      for (const model of stand.models) for (const path of CONVERSATIONS) await converse(governor, `${stand.url}${path}`, model, log, {})
    } finally {
      await stand.close()
    }
  } catch (error) {
    log.debug({ err: error }, 'no rehearsal')
  }
}

async function converse({ clock }: Governor, url: string, model: string, log: Logger, headers: Record<string, string>): Promise<void> {
  const startMs = clock.monoMs()
  for (let i = 0; i < REQUESTS && clock.monoMs() - startMs < MOST_MS; i++) {
    const content = `${i}. ${SENTENCE.repeat(SENTENCES[i % SENTENCES.length] as number)}`
    const body = JSON.stringify({ model, temperature: 0, max_tokens: TOKENS, stream: i % 2 === 1, messages: [{ role: 'user', content }] })
    try {
      const reply = await request(url, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body })
      await reply.body.dump()
      if (reply.statusCode !== 200) return
    } catch (error) {
      log.debug({ err: error }, 'no rehearsal')
      return
    }
  }
}
