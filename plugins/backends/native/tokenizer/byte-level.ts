/**
 * GPT-2's byte alphabet: every byte is one printable character, so that a vocabulary of text can hold any bytes.
 * Printable Latin-1 stands for itself; the 68 others follow from U+0100 on, in order.
 */
const characterOf: string[] = []
const byteOf = new Map<string, number>()

for (let byte = 0, shifted = 256; byte < 256; byte++) {
  const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae
  const character = String.fromCharCode(printable ? byte : shifted++)
  characterOf.push(character)
  byteOf.set(character, byte)
}

const encoder = new TextEncoder()

/** The UTF-8 bytes of the text, each as its character. */
export function toByteCharacters(text: string): string {
  let characters = ''
  for (const byte of encoder.encode(text)) characters += characterOf[byte] as string
  return characters
}

/** The bytes behind a token's text; a character outside the alphabet stands for its own UTF-8. */
export function fromByteCharacters(characters: string): Uint8Array {
  const bytes: number[] = []
  for (const character of characters) {
    const byte = byteOf.get(character)
    if (byte === undefined) bytes.push(...encoder.encode(character))
    else bytes.push(byte)
  }
  return Uint8Array.from(bytes)
}
