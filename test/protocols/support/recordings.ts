/** Recorded provider replies, as their bytes were on the wire. */
import { readdirSync, readFileSync } from 'node:fs'
import { dataPath } from '../../support/data.ts'

export interface Recording {
  readonly name: string
  readonly bytes: Buffer
}

/** `*.chunks.txt` hold one data payload a line; real streams close OpenAI's with `[DONE]` and name Anthropic's events. */
export function streamRecordings(provider: string, framing: 'openai' | 'anthropic'): Recording[] {
  const folder = dataPath(`sse/${provider}`)
  return readdirSync(folder).flatMap((file) => {
    const text = readFileSync(`${folder}/${file}`, 'utf8')
    if (file.endsWith('.sse') || (file.endsWith('.txt') && !file.endsWith('.chunks.txt'))) return [{ name: `${provider}/${file}`, bytes: Buffer.from(text) }]
    if (!file.endsWith('.chunks.txt')) return []
    const payloads = text.split('\n').filter((line) => line.trim() !== '')
    const events = payloads.map((payload) => (framing === 'openai' ? `data: ${payload}\n\n` : `event: ${(JSON.parse(payload) as { type: string }).type}\ndata: ${payload}\n\n`))
    return [{ name: `${provider}/${file}`, bytes: Buffer.from(events.join('') + (framing === 'openai' ? 'data: [DONE]\n\n' : '')) }]
  })
}

export function unaryRecordings(provider: string): Recording[] {
  const folder = dataPath(`sse/${provider}`)
  return readdirSync(folder).filter((file) => file.endsWith('.json')).map((file) => ({ name: `${provider}/${file}`, bytes: readFileSync(`${folder}/${file}`) }))
}

/** `bytes` in pieces, cut at each of `cuts` (fractions of the length, 0-1). */
export function cutAt(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [...new Set([0, ...cuts.map((cut) => Math.floor(cut * bytes.length)), bytes.length])].sort((a, b) => a - b)
  return at.slice(1).map((end, i) => bytes.subarray(at[i], end))
}
