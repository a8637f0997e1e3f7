/** A promise with its handles outside: `Promise.withResolvers`, which ES2023's library does not have. */
export interface Deferred<T> {
  readonly promise: Promise<T>
  resolve(value: T): void
  reject(error: unknown): void
}

export function deferred<T>(): Deferred<T> {
  const handles: { resolve?: (value: T) => void; reject?: (error: unknown) => void } = {}
  const promise = new Promise<T>((resolve, reject) => {
    handles.resolve = resolve
    handles.reject = reject
  })
  return { promise, resolve: (value) => handles.resolve?.(value), reject: (error) => handles.reject?.(error) }
}
