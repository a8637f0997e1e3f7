/** Watches generated text for stop strings that may be cut anywhere by token borders. */
export class StopStrings {
  readonly #stops: readonly string[]
  readonly #longest: number
  /** Text that may still turn out to be the start of a stop string. */
  #held = ''

  constructor(stops: readonly string[]) {
    this.#stops = stops.filter((stop) => stop !== '')
    this.#longest = this.#stops.reduce((most, stop) => Math.max(most, stop.length), 0)
  }

  /**
   * @returns `text` that is surely no part of a stop string, and the earliest `stop` once one is complete; nothing
   *   after that is looked at
   */
  push(text: string): { readonly text: string; readonly stop?: string } {
    if (this.#longest === 0) return { text }
    const seen = this.#held + text
    let found: { at: number; stop: string } | undefined
    for (const stop of this.#stops) {
      const at = seen.indexOf(stop)
      if (at >= 0 && (found === undefined || at < found.at)) found = { at, stop }
    }
    if (found !== undefined) {
      this.#held = ''
      return { text: seen.slice(0, found.at), stop: found.stop }
    }
    let safe = Math.max(0, seen.length - this.#longest + 1)
    while (safe < seen.length && !this.#stops.some((stop) => stop.startsWith(seen.slice(safe)))) safe++
    this.#held = seen.slice(safe)
    return { text: seen.slice(0, safe) }
  }

  /** What was held back, once no more text comes. */
  end(): string {
    const held = this.#held
    this.#held = ''
    return held
  }
}
