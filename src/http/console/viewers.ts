/** Server-sent events to many: each frame is one buffer, written to all. A viewer that does not read is let go. */
import type { ServerResponse } from 'node:http'

/** More than this at once are sent away. */
export const MAX_VIEWERS = 100
/** What may wait in a viewer's socket: a page that was put to sleep comes back by itself. */
const MAX_BEHIND_BYTES = 4 * 1024 * 1024

export class Viewers {
  readonly #open = new Set<ServerResponse>()

  get size(): number {
    return this.#open.size
  }

  /** False: there are too many. */
  add(res: ServerResponse): boolean {
    if (this.#open.size >= MAX_VIEWERS) return false
    this.#open.add(res)
    res.once('close', () => this.#open.delete(res))
    return true
  }

  send(frame: Buffer): void {
    for (const res of this.#open) {
      if (res.writableLength > MAX_BEHIND_BYTES) {
        this.#open.delete(res)
        res.destroy()
      } else res.write(frame)
    }
  }

  close(): void {
    for (const res of this.#open) res.end()
    this.#open.clear()
  }
}

/** One event. `json` has no line breaks. */
export const eventFrame = (event: string, json: string): Buffer => Buffer.from(`event: ${event}\ndata: ${json}\n\n`)
