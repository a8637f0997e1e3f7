/** A gateway with a loop that moves, some load, and the console mounted: what the tests of the console look at. */
import express, { type Express } from 'express'
import { createGovernor, type ConsoleOptions, type Governor } from '../../src/index.ts'
import { cache } from '../../plugins/builtin.ts'
import { seesaw, SEESAW_KNOB, seesawControl } from '../dashboards/live/seesaw.ts'
import { listen, type Listening } from '../support/listen.ts'

export const TOKEN = 'a token of the tests'

export interface LiveConsole {
  readonly governor: Governor
  readonly server: Listening
  readonly app: Express
  /** One more call of the loop's backend. */
  call(): Promise<number>
  close(): Promise<void>
}

export interface LiveConsoleOptions {
  /** Calls per second; 0: none. */
  readonly perS?: number
  readonly console?: ConsoleOptions
  /** Before the console. */
  readonly prepare?: (app: Express) => void
  readonly path?: string
}

export async function liveConsole({ perS = 0, console: consoleOptions = {}, prepare, path = '/flyball' }: LiveConsoleOptions = {}): Promise<LiveConsole> {
  seesawControl.mode = 'swing'
  const governor = createGovernor({
    plugins: [seesaw(), cache()],
    classes: [
      { name: 'interactive', priority: 0, startMs: 500, ttftMs: 400, e2eMs: 1_000, quantile: 0.95 },
      { name: 'batch', priority: 10, startMs: 5_000, quantile: 0.9 },
    ],
  })
  const pause = governor.knobs.get(SEESAW_KNOB.name).for({ backend: 'engine' })
  const engine = governor.wrap<number, number>('engine', async (x) => {
    await new Promise((resolve) => setTimeout(resolve, pause.value / 4))
    return x
  }, { slots: 64 })
  const app = express()
  prepare?.(app)
  app.use(path, governor.console(consoleOptions))
  const server = await listen(app)
  await governor.start()
  const call = (): Promise<number> => engine(1)
  const timer = perS === 0 ? undefined : setInterval(() => void call().catch(() => {}), 1_000 / perS)
  return {
    governor,
    server,
    app,
    call,
    async close() {
      clearInterval(timer)
      await governor.close()
      await server.close()
    },
  }
}
