/**
 * Mooncake traces: `timestamp` (ms), `input_length`, `output_length`, `hash_ids` of prompt blocks. Timestamps come in ticks
 * of about 3 s; replayed as they are, every tick would be a burst, so arrivals are spread over the time to the next tick.
 */
import { seededRandom } from '../seeded-random.ts'
import type { TraceRequest } from '../simulated-request.ts'
import { jsonAt, linesOf, shown, TraceError, wholeAt } from './trace-file.ts'

/** After the last tick nothing says how long it was. */
const LAST_TICK_MS = 3_000

/** Throws a TraceError. `seed`: for where in its tick a request falls. */
export function* mooncakeJsonl(file: string, bytes: Buffer, seed = 1): Generator<TraceRequest> {
  const random = seededRandom(seed)
  let tick: Omit<TraceRequest, 'atMs'>[] = []
  let tickMs = 0
  const spread = (toMs: number): TraceRequest[] => {
    const offsets = tick.map(() => random() * (toMs - tickMs)).sort((a, b) => a - b)
    return tick.map((request, i) => ({ atMs: tickMs + (offsets[i] as number), ...request }))
  }
  for (const { line, text } of linesOf(bytes)) {
    const row = jsonAt(file, line, text)
    const atMs = wholeAt(file, line, 'timestamp', row['timestamp'])
    if (atMs < tickMs) throw new TraceError(file, line, `expected timestamps in order, got ${atMs} after ${tickMs}`)
    if (atMs > tickMs) {
      yield* spread(atMs)
      tick = []
      tickMs = atMs
    }
    const blocks = row['hash_ids']
    if (blocks !== undefined && !(Array.isArray(blocks) && blocks.every(Number.isSafeInteger))) throw new TraceError(file, line, `expected hash_ids to be a list of whole numbers, got ${shown(blocks)}`)
    tick.push({
      inputTokens: wholeAt(file, line, 'input_length', row['input_length']),
      outputTokens: Math.max(1, wholeAt(file, line, 'output_length', row['output_length'])),
      stream: true,
      ...(blocks === undefined ? {} : { prefixBlocks: blocks as number[] }),
    })
  }
  yield* spread(tickMs + LAST_TICK_MS)
}
