/** Keeps the controllers' states in a file, so that a restart does not learn everything anew. */
import type { Cancel, Clock } from '../core/clock.ts'
import type { Logger } from '../core/plugin.ts'
import type { ControlLoop } from './loop.ts'
import { saveStates } from './state-file.ts'

/** What is learned changes slowly; a lost minute is soon learned again. */
const SAVE_MS = 60_000

/** Saves now and then, and once more when the returned function is called. A disk that fails is told and changes nothing. */
export function keepStates(path: string, parts: { clock: Clock; loop: ControlLoop; log: Logger }): () => Promise<void> {
  const { clock, loop, log } = parts
  let cancel: Cancel = () => {}
  const save = (): Promise<void> => saveStates(path, loop.states()).catch((error: unknown) => log.warn({ path, err: error }, 'controller states could not be saved'))
  const again = (): void => {
    cancel = clock.after(SAVE_MS, () => {
      void save()
      again()
    })
  }
  again()
  return () => {
    cancel()
    return save()
  }
}
