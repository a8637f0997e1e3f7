/** Entry point of the worker thread of `ReferenceEngine`: loads the model, then computes whatever it is sent. */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { readGguf } from './gguf.ts'
import { forFile, ModelError } from './model-error.ts'
import type { ModelErrorCode } from './model-error.ts'
import { ReferenceModel } from './reference.ts'
import type { AttentionPrecision } from './reference.ts'
import { ReferenceScheduler } from './reference-scheduler.ts'
import type { Job, Result } from './reference-scheduler.ts'
import { Tokenizer } from './tokenizer/tokenizer.ts'

export interface WorkerInput {
  readonly path: string
  readonly precision: AttentionPrecision
  readonly maxSequences: number
}

export type ToWorker = Job | { readonly kind: 'cancel'; readonly id: number }

export type FromWorker =
  | { readonly kind: 'ready' }
  | { readonly kind: 'unusable'; readonly code: ModelErrorCode; readonly message: string }
  | { readonly kind: 'results'; readonly results: readonly Result[]; readonly steps: number; readonly kvTokens: number }

const port = parentPort
if (port === null) throw new Error('reference-worker runs in a worker thread only')
const send = (message: FromWorker): void => port.postMessage(message)

const scheduler = load(workerData as WorkerInput)
if (scheduler !== undefined) {
  port.on('message', (message: ToWorker) => {
    take(scheduler, message)
    // stays in this loop while there is work, so it looks for messages between rounds: a cancel acts within one round
    while (scheduler.busy) {
      const results = scheduler.round()
      for (let next = receiveMessageOnPort(port); next !== undefined; next = receiveMessageOnPort(port)) take(scheduler, next.message as ToWorker)
      if (results.length > 0) send({ kind: 'results', results, steps: scheduler.steps, kvTokens: scheduler.kvTokens })
    }
  })
  send({ kind: 'ready' })
}

function take(jobs: ReferenceScheduler, message: ToWorker): void {
  if (message.kind === 'cancel') jobs.cancel(message.id)
  else jobs.add(message)
}

function load({ path, precision, maxSequences }: WorkerInput): ReferenceScheduler | undefined {
  try {
    const gguf = readGguf(path)
    return forFile(path, () => new ReferenceScheduler(new ReferenceModel(gguf, precision), new Tokenizer(gguf.metadata), maxSequences))
  } catch (error) {
    const code = error instanceof ModelError ? error.code : 'unreadable'
    send({ kind: 'unusable', code, message: error instanceof Error ? error.message : String(error) })
    return undefined
  }
}
