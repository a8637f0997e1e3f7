/** The part of a tokenizer that differs by kind: text without special tokens to tokens, and back to bytes. */
export interface TokenizerModel {
  /** Text without special tokens to tokens, appended to `out`. `first`: at the start or behind a special token. */
  encode(text: string, first: boolean, out: number[]): void
  /** The bytes that the token stands for in text. */
  bytes(token: number): Uint8Array
  /** Whether the encoder put a space in front of the text. */
  readonly spacePrefix: boolean
  readonly addBos: boolean
}
