/** The classifier on a thread of its own, so that the event loop stays free. */
import { parentPort } from 'node:worker_threads'
import { createClassifier } from './classifier-model.ts'

const classifier = createClassifier()
parentPort?.on('message', ({ id, texts }: { id: number; texts: string[] }) => {
  parentPort?.postMessage({ id, intents: classifier.classify(texts) })
})
