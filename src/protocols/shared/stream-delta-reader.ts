/** Reads an event stream, cut anywhere, event by event. */
import { createParser } from 'eventsource-parser'
import { FlyballError } from '../../core/errors.ts'
import type { Delta } from '../../core/reply.ts'
import type { DeltaReader } from '../protocol.ts'
import { asBuffer } from './byte-text.ts'
import { isObject, type JsonObject } from './json-value.ts'

export interface EventFacts {
  event(document: JsonObject): readonly Delta[]
  /** The stream said that it is over; asked once at its end. */
  complete(): boolean
}

const invalid = (message: string, cause?: unknown): FlyballError => new FlyballError('upstream_invalid', { message, cause })

/** Longest single event, in characters. */
const MAX_EVENT_LENGTH = 16 * 1024 * 1024

export function streamDeltaReader(facts: EventFacts): DeltaReader {
  const decoder = new TextDecoder()
  let deltas: Delta[] = []
  let done = false
  let failed = false
  const parser = createParser({
    maxBufferSize: MAX_EVENT_LENGTH,
    onEvent({ data }) {
      if (data === '[DONE]') {
        done = true
        return
      }
      let document: unknown
      try {
        document = JSON.parse(data)
      } catch (cause) {
        throw invalid('The backend sent a broken event.', cause)
      }
      if (!isObject(document)) throw invalid('The backend sent a broken event.')
      for (const delta of facts.event(document)) {
        if (delta.type === 'error') failed = true
        deltas.push(delta)
      }
    },
  })
  function feed(text: string): readonly Delta[] {
    try {
      parser.feed(text)
    } catch (thrown) {
      throw thrown instanceof FlyballError ? thrown : invalid('The backend sent a broken event stream.', thrown)
    }
    if (deltas.length === 0) return deltas
    const taken = deltas
    deltas = []
    return taken
  }
  return {
    push: (bytes) => feed(decoder.decode(bytes, { stream: true })),
    end() {
      // The last event may lack its blank line.
      const last = feed(`${decoder.decode()}\n\n`)
      if (!done && !failed && !facts.complete()) throw invalid('The backend ended its stream before it was complete.')
      return last
    },
  }
}

/** Reads one JSON document, cut anywhere. */
export function unaryDeltaReader(read: (document: JsonObject) => readonly Delta[]): DeltaReader {
  const pieces: Uint8Array[] = []
  return {
    push(bytes) {
      pieces.push(bytes)
      return []
    },
    end() {
      let document: unknown
      try {
        document = JSON.parse(Buffer.concat(pieces.map(asBuffer)).toString('utf8'))
      } catch (cause) {
        throw invalid('The backend sent a body that is not JSON.', cause)
      }
      pieces.length = 0
      if (!isObject(document)) throw invalid('The backend sent a body that is not a JSON object.')
      return read(document)
    },
  }
}
