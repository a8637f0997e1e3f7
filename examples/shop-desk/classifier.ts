/** The shop's message classifier, for `wrapBatch`: many texts in, one intent each out. */
import { Worker } from 'node:worker_threads'
import type { Intent } from './classifier-model.ts'

export interface ClassifierClient {
  classify(texts: readonly string[]): Promise<Intent[]>
  close(): Promise<void>
}

export function startClassifier(): ClassifierClient {
  // The worker is `.ts` when run from sources and `.js` when built.
  const worker = new Worker(new URL(`./classifier-worker${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url))
  worker.unref()
  const pending = new Map<number, { resolve: (intents: Intent[]) => void; reject: (error: Error) => void }>()
  let nextId = 0
  worker.on('message', ({ id, intents }: { id: number; intents: Intent[] }) => {
    pending.get(id)?.resolve(intents)
    pending.delete(id)
  })
  const failAll = (error: Error): void => {
    for (const { reject } of pending.values()) reject(error)
    pending.clear()
  }
  worker.on('error', failAll)
  worker.on('exit', () => failAll(new Error('the classifier has stopped')))
  return {
    classify: (texts) =>
      new Promise((resolve, reject) => {
        pending.set(++nextId, { resolve, reject })
        worker.postMessage({ id: nextId, texts })
      }),
    close: async () => void (await worker.terminate()),
  }
}
