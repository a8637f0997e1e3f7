/** Deltas as Anthropic's event stream. */
import { FlyballError } from '../../core/errors.ts'
import type { Delta, FinishReason } from '../../core/reply.ts'
import type { Usage } from '../../core/settlement.ts'
import type { ReplyContext, StreamWriter } from '../protocol.ts'
import { anthropicError, anthropicErrorOf } from './errors.ts'
import { writeStopReason } from './stop-reason.ts'
import { writeUsage } from './usage.ts'

const quote = (text: string): string => JSON.stringify(text)
const event = (type: string, fields: string): string => `event: ${type}\ndata: {"type":"${type}"${fields}}\n\n`

interface Tool {
  readonly id: string
  readonly name: string
  /** Input that came while another block was open. */
  held: string
  state: 'held' | 'open' | 'closed'
}

/**
 * Blocks follow one another here, while other protocols may interleave their tool calls: the first call streams, later
 * ones are held until it is over.
 */
export function anthropicStreamWriter(_operation: string, context: ReplyContext): StreamWriter {
  let text = ''
  let started = false
  let failed = false
  let block = -1
  let open: 'text' | 'thinking' | Tool | undefined
  const tools: Tool[] = [] // as many as one reply's tool calls
  let usage: Usage = { inputTokens: 0, outputTokens: 0 }
  let finish: FinishReason = 'stop'
  let stopSequence: string | undefined

  function start(): void {
    if (started) return
    started = true
    const message = { id: context.id, type: 'message', role: 'assistant', model: context.model, content: [], stop_reason: null, stop_sequence: null, usage: { ...writeUsage(usage), output_tokens: 0 } }
    text += event('message_start', `,"message":${JSON.stringify(message)}`)
  }

  function close(): void {
    if (open === undefined) return
    text += event('content_block_stop', `,"index":${block}`)
    if (typeof open === 'object') open.state = 'closed'
    open = undefined
  }

  function openBlock(content: string): void {
    block++
    text += event('content_block_start', `,"index":${block},"content_block":${content}`)
  }

  function blockDelta(delta: string): void {
    text += event('content_block_delta', `,"index":${block},"delta":${delta}`)
  }

  function openTool(tool: Tool): void {
    close()
    open = tool
    tool.state = 'open'
    openBlock(`{"type":"tool_use","id":${quote(tool.id)},"name":${quote(tool.name)},"input":{}}`)
    if (tool.held !== '') blockDelta(`{"type":"input_json_delta","partial_json":${quote(tool.held)}}`)
    tool.held = ''
  }

  function flushTools(): void {
    for (const tool of tools) if (tool?.state === 'held') openTool(tool)
  }

  function said(kind: 'text' | 'thinking'): void {
    if (open === kind) return
    flushTools()
    close()
    open = kind
    openBlock(kind === 'text' ? '{"type":"text","text":""}' : '{"type":"thinking","thinking":"","signature":""}')
  }

  function toolInput(call: number, json: string): void {
    const tool = tools[call]
    if (!tool) return
    if (tool.state === 'closed') throw new FlyballError('upstream_invalid', { message: 'The backend went back to a tool call that it had left.' })
    if (tool.state === 'held') tool.held += json
    else blockDelta(`{"type":"input_json_delta","partial_json":${quote(json)}}`)
  }

  function write(delta: Delta): void {
    if ('index' in delta && delta.index !== 0) return // one choice: requests for more are refused
    switch (delta.type) {
      case 'text':
      case 'refusal':
        if (delta.text === '') return
        start()
        said('text')
        blockDelta(`{"type":"text_delta","text":${quote(delta.text)}}`)
        return
      case 'reasoning':
        start()
        said('thinking')
        if (delta.text !== '') blockDelta(`{"type":"thinking_delta","thinking":${quote(delta.text)}}`)
        if (delta.signature !== undefined) blockDelta(`{"type":"signature_delta","signature":${quote(delta.signature)}}`)
        return
      case 'tool-start': {
        start()
        const tool: Tool = { id: delta.id, name: delta.name, held: '', state: 'held' }
        tools[delta.call] = tool
        if (typeof open !== 'object') openTool(tool)
        return
      }
      case 'tool-input':
        toolInput(delta.call, delta.json)
        return
      case 'finish':
        finish = delta.reason
        stopSequence = delta.stopSequence
        return
      case 'usage':
        usage = delta.usage
        return
      case 'error':
        failed = true
        text += `event: error\ndata: ${JSON.stringify(anthropicErrorOf(delta))}\n\n`
    }
  }

  function take(): Uint8Array {
    const bytes = Buffer.from(text)
    text = ''
    return bytes
  }

  return {
    contentType: 'text/event-stream; charset=utf-8',
    push(deltas) {
      for (const delta of deltas) if (!failed) write(delta)
      return take()
    },
    end() {
      if (failed) return take()
      start()
      flushTools()
      close()
      const reason = tools.length > 0 && finish === 'stop' ? 'tool_use' : writeStopReason(finish, stopSequence)
      const delta = { stop_reason: reason, stop_sequence: reason === 'stop_sequence' ? (stopSequence ?? null) : null }
      text += event('message_delta', `,"delta":${JSON.stringify(delta)},"usage":${JSON.stringify(writeUsage(usage))}`)
      text += event('message_stop', '')
      return take()
    },
    fail: (error) => Buffer.from(`event: error\ndata: ${JSON.stringify(anthropicError(error))}\n\n`),
  }
}
