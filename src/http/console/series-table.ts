/** Names of the series that a sample carries, each with a place in the row. Grows only; capped. */

/** What a gateway with some thirty backends and as many loops needs; later ones are left out, and the page says so. */
export const MAX_SERIES = 1_024

export class SeriesTable {
  readonly #places = new Map<string, number>()
  readonly names: string[] = []
  /** How many were left out. */
  dropped = 0
  #row: (number | null)[] = []

  begin(): void {
    this.#row = Array.from({ length: this.names.length }, () => null)
  }

  set(name: string, value: number | null | undefined): void {
    let place = this.#places.get(name)
    if (place === undefined) {
      if (this.names.length >= MAX_SERIES) {
        this.dropped++
        return
      }
      place = this.names.length
      this.#places.set(name, place)
      this.names.push(name)
    }
    while (this.#row.length <= place) this.#row.push(null)
    this.#row[place] = value === undefined || value === null || !Number.isFinite(value) ? null : rounded(value)
  }

  /** The row since `begin`, in the order of `names`. */
  get row(): readonly (number | null)[] {
    return this.#row
  }
}

/** Four digits are more than a plot shows. */
const rounded = (value: number): number => (Number.isInteger(value) ? value : Number(value.toPrecision(4)))
