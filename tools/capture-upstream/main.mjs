/**
 * Asks a running server of OpenAI's protocol (and of Anthropic's, where it has that, too) a fixed set of questions and keeps its answers byte for byte, as fixtures:
 *   node tools/capture-upstream/main.mjs --url http://127.0.0.1:8080/v1 --model NAME --server 'llama.cpp 1.2' --out FOLDER
 * Run it again for a new version of that server. Node's built-ins only.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

const { values: flags } = parseArgs({
  options: {
    url: { type: 'string' },
    model: { type: 'string' },
    server: { type: 'string' },
    out: { type: 'string' },
    /** How the server was started: kept beside its answers. */
    how: { type: 'string', default: '' },
    /** Where its metrics page is; left out: none is kept. */
    metrics: { type: 'string' },
    /** Only these captures, by name: servers need other flags for embeddings than for chat. */
    only: { type: 'string' },
  },
})
for (const name of ['url', 'model', 'server', 'out']) if (flags[name] === undefined) throw new TypeError(`--${name} is missing`)

const { model } = flags
const messages = [{ role: 'user', content: 'When are you open?' }]
const chat = { model, messages, max_tokens: 12, temperature: 0 }
const weather = { type: 'function', function: { name: 'get_weather', description: 'The weather in a city', parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] } } }

/** [name, path, body] */
const QUESTIONS = [
  ['chat', '/chat/completions', chat],
  ['chat-stream', '/chat/completions', { ...chat, stream: true }],
  ['chat-stream-usage', '/chat/completions', { ...chat, stream: true, stream_options: { include_usage: true } }],
  ['chat-logprobs', '/chat/completions', { ...chat, logprobs: true, top_logprobs: 2 }],
  ['chat-stop', '/chat/completions', { ...chat, max_tokens: 60, stop: ['.'] }],
  ['chat-stream-two-choices', '/chat/completions', { ...chat, n: 2, temperature: 0.7, seed: 1, stream: true }],
  ['chat-stream-tool', '/chat/completions', { ...chat, max_tokens: 60, stream: true, tools: [weather], tool_choice: 'required' }],
  ['completion', '/completions', { model, prompt: 'We are open', max_tokens: 8, temperature: 0 }],
  ['completion-stream', '/completions', { model, prompt: 'We are open', max_tokens: 8, temperature: 0, stream: true }],
  ['message', '/messages', chat],
  ['message-stream', '/messages', { ...chat, stream: true }],
  ['embedding', '/embeddings', { model, input: ['open', 'closed'] }],
  ['embedding-base64', '/embeddings', { model, input: 'open', encoding_format: 'base64' }],
  ['error-empty-messages', '/chat/completions', { model, messages: [] }],
  ['error-wrong-type', '/chat/completions', { ...chat, messages: 'hello' }],
  ['error-unknown-model', '/chat/completions', { ...chat, model: 'no-such-model' }],
  ['error-too-long', '/chat/completions', { ...chat, messages: [{ role: 'user', content: 'open '.repeat(20_000) }] }],
  ['error-too-long-stream', '/chat/completions', { ...chat, messages: [{ role: 'user', content: 'open '.repeat(20_000) }], stream: true }],
  ['error-not-found', '/no-such-thing', {}],
]

const only = flags.only?.split(',')
mkdirSync(flags.out, { recursive: true })
const record = join(flags.out, 'capture.json')
/** What an earlier run with other flags has kept stays. */
const replies = only && existsSync(record) ? JSON.parse(readFileSync(record, 'utf8')).replies : {}

async function keep(name, path, init) {
  const reply = await fetch(path, init)
  const bytes = Buffer.from(await reply.arrayBuffer())
  const contentType = reply.headers.get('content-type') ?? ''
  const file = `${name}.${contentType.includes('event-stream') ? 'sse' : contentType.includes('json') ? 'json' : 'txt'}`
  writeFileSync(join(flags.out, file), bytes)
  replies[file] = { status: reply.status, contentType }
  console.log(`${file}: ${reply.status}, ${bytes.length} bytes`)
}

for (const [name, path, body] of QUESTIONS) {
  if (only && !only.includes(name)) continue
  await keep(name, flags.url + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
}
if (!only || only.includes('models')) await keep('models', `${flags.url}/models`)
if (flags.metrics) {
  // Under load, so that its gauges are not all 0.
  const busy = Array.from({ length: 40 }, () => fetch(`${flags.url}/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ ...chat, max_tokens: 400, ignore_eos: true }) }).then((reply) => reply.arrayBuffer()))
  await new Promise((resolve) => setTimeout(resolve, 300))
  await keep('metrics', flags.metrics)
  await Promise.all(busy)
}
writeFileSync(record, `${JSON.stringify({ server: flags.server, how: flags.how, replies }, null, 1)}\n`)
