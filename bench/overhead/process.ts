/** A candidate or the upstream, as a child process that is asked for its account. */
import { fork, type ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Account } from './candidate.ts'

export interface Child {
  readonly url: string
  account(): Promise<Account>
  stop(): void
}

const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js'

/** Rejects with what the child said when it does not come up within 30 s. */
export async function startChild(module: string, args: readonly string[]): Promise<Child> {
  const file = fileURLToPath(new URL(`${module}${extension}`, import.meta.url))
  const child = fork(file, args, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
  let errors = ''
  child.stderr?.on('data', (part: Buffer) => (errors = (errors + String(part)).slice(-2_000)))
  const { port } = await message<{ port: number }>(child, 'port', 30_000).catch((error: Error) => {
    child.kill()
    throw new Error(`${module} did not start: ${errors.trim().split('\n').slice(-3).join(' ') || error.message}`)
  })
  return {
    url: `http://127.0.0.1:${port}`,
    async account() {
      const answer = message<{ account: Account }>(child, 'account', 10_000)
      child.send('account')
      return (await answer).account
    },
    stop: () => void child.kill(),
  }
}

function message<T>(child: ChildProcess, key: string, withinMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => done(() => reject(new Error('no answer'))), withinMs)
    const onMessage = (value: unknown): void => {
      if (typeof value === 'object' && value !== null && key in value) done(() => resolve(value as T))
    }
    const onExit = (code: number | null): void => done(() => reject(new Error(`exited with ${code}`)))
    function done(fn: () => void): void {
      clearTimeout(timer)
      child.off('message', onMessage)
      child.off('exit', onExit)
      fn()
    }
    child.on('message', onMessage)
    child.on('exit', onExit)
  })
}
