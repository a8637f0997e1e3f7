/** Bytes as one-byte strings: the cheapest form in which V8 can search them. UTF-8's multi-byte sequences hold no ASCII. */

export const asBuffer = (bytes: Uint8Array): Buffer => (Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))

/** One character per byte: good for searching ASCII, not for reading text. */
export const toByteText = (bytes: Uint8Array): string => (asBuffer(bytes) as Buffer & { latin1Slice(start: number, end: number): string }).latin1Slice(0, bytes.length)

/** The text that a byte string stands for. */
export const decodeByteText = (text: string): string => Buffer.from(text, 'latin1').toString('utf8')

/** A line longer than this is let go of unread: its bytes still pass, its facts do not. */
export const MAX_LINE_BYTES = 4 * 1024 * 1024

/** Cuts a stream of bytes into whole lines. Invariant: holds at most `MAX_LINE_BYTES` of an unfinished line. */
export class LineCutter {
  #pending: string[] = []
  #pendingLength = 0
  #skipping = false

  /** Byte text of all lines that are complete now, each with its `\n`; empty when there is none. */
  take(bytes: Uint8Array): string {
    let text = toByteText(bytes)
    if (this.#skipping) {
      const lineEnd = text.indexOf('\n')
      if (lineEnd === -1) return ''
      this.#skipping = false
      text = text.slice(lineEnd + 1)
    }
    if (text.length === 0) return ''
    const last = text.charCodeAt(text.length - 1) === 10 ? text.length - 1 : text.lastIndexOf('\n')
    if (last === -1) {
      this.#hold(text)
      return ''
    }
    const rest = last + 1 === text.length ? '' : text.slice(last + 1)
    let lines = rest === '' ? text : text.slice(0, last + 1)
    if (this.#pendingLength > 0) {
      this.#pending.push(lines)
      lines = this.#pending.join('')
      this.#pending = []
      this.#pendingLength = 0
    }
    if (rest !== '') this.#hold(rest)
    return lines
  }

  /** What is left without a line end. */
  rest(): string {
    const text = this.#pending.join('')
    this.#pending = []
    this.#pendingLength = 0
    return text
  }

  #hold(text: string): void {
    this.#pending.push(text)
    this.#pendingLength += text.length
    if (this.#pendingLength <= MAX_LINE_BYTES) return
    this.#pending = []
    this.#pendingLength = 0
    this.#skipping = true
  }
}
