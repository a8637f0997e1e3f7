/** Asks for usage in a stream on behalf of a client that did not, and takes the extra event out again. */
import type { ByteFilter, Call } from '../../../src/index.ts'

interface StreamBody {
  readonly stream?: unknown
  readonly stream_options?: unknown
}

const OPTION = '"stream_options":{"include_usage":true},'

/** The body that asks; undefined where the client asks itself, or where there is nothing to ask for. */
export function askForUsage(call: Call): Uint8Array | string | undefined {
  if (!call.stream || (call.operation !== 'chat' && call.operation !== 'completions')) return undefined
  const body = call.input as StreamBody
  if (body.stream_options !== undefined && body.stream_options !== null) {
    if ((body.stream_options as { include_usage?: unknown }).include_usage === true) return undefined
    return JSON.stringify({ ...body, stream_options: { ...body.stream_options, include_usage: true } })
  }
  const bytes = call.wire?.bytes
  const start = bytes?.indexOf(0x7b) ?? -1
  if (bytes === undefined || start === -1 || 'stream_options' in body) return JSON.stringify({ ...body, stream_options: { include_usage: true } })
  // Everything else stays byte for byte. The body is not empty: it has a model.
  return Buffer.concat([bytes.subarray(0, start + 1), Buffer.from(OPTION), bytes.subarray(start + 1)])
}

const EMPTY = Buffer.alloc(0)
/** One event that holds usage and no choices: it is there because we asked. */
const USAGE_ONLY = /"choices": ?\[\]/
const HAS_USAGE = /"usage": ?\{/
/** A longer event is let through as it comes: the one we look for has a few hundred bytes. */
const MAX_HELD_BYTES = 256 * 1024

/** Lets whole events through and drops the usage-only one. */
export function dropUsageEvents(): ByteFilter {
  let held: Buffer = EMPTY

  function sift(bytes: Buffer): Uint8Array {
    const kept: Buffer[] = []
    let start = 0
    for (let end = eventEnd(bytes, start); end !== -1; end = eventEnd(bytes, start)) {
      const event = bytes.subarray(start, end)
      const text = event.toString('latin1')
      if (!(HAS_USAGE.test(text) && USAGE_ONLY.test(text))) kept.push(event)
      start = end
    }
    held = bytes.subarray(start)
    if (held.length > MAX_HELD_BYTES) {
      kept.push(held)
      held = EMPTY
    }
    return kept.length === 1 ? (kept[0] as Buffer) : Buffer.concat(kept)
  }

  return {
    push: (bytes) => sift(held.length === 0 ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length) : Buffer.concat([held, bytes])),
    end: () => held,
  }
}

/** Index after the blank line that ends the event; -1 when it has not come yet. */
function eventEnd(bytes: Buffer, start: number): number {
  const plain = bytes.indexOf('\n\n', start)
  const windows = bytes.indexOf('\r\n\r\n', start)
  if (plain === -1) return windows === -1 ? -1 : windows + 4
  return windows !== -1 && windows < plain ? windows + 4 : plain + 2
}
