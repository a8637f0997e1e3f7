/** What is wrong with a model file, as one line that a person can act on. */
export type ModelErrorCode =
  /** The file cannot be read at all. */
  | 'unreadable'
  /** The bytes break the GGUF format. */
  | 'malformed'
  /** Sound GGUF, but not a model that can run: a key or tensor is missing or has the wrong shape. */
  | 'invalid_model'
  /** Sound, but of a kind that we do not have (architecture, weight type, tokenizer, pre-tokenizer). */
  | 'unsupported'

/** Thrown by everything that reads model files. The message is one line: what and where, never file content at length. */
export class ModelError extends Error {
  readonly code: ModelErrorCode

  constructor(code: ModelErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'ModelError'
    this.code = code
  }
}

/** Runs `read`; errors about what a file says then begin with its path, as errors of its format do. */
export function forFile<T>(path: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof ModelError && !error.message.startsWith(path)) throw new ModelError(error.code, `${path}: ${error.message}`, error)
    throw error
  }
}

const NAME_SHOWN = 80

/** A name out of an untrusted file, fit for a one-line message: escaped, quoted and cut. */
export function shown(name: string): string {
  return JSON.stringify(name.length > NAME_SHOWN ? `${name.slice(0, NAME_SHOWN)}…` : name)
}

/** A file that the operating system does not give, in words. */
export function unreadable(path: string, error: unknown): ModelError {
  const { code, message } = error as NodeJS.ErrnoException
  return new ModelError('unreadable', `${path}: ${code === 'ENOENT' ? 'there is no such file' : message}`, error)
}
