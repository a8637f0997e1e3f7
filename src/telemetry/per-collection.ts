/** Worked out once per collection: the SDK runs all callbacks of one collection in the same turn of the event loop. */
export function perCollection<T>(compute: () => T): () => T {
  let held: { readonly value: T } | undefined
  return () => {
    if (!held) {
      held = { value: compute() }
      queueMicrotask(() => { held = undefined })
    }
    return held.value
  }
}
