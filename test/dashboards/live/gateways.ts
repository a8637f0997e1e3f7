/** Starts gateway-process.ts and talks to it. */
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { createInterface } from 'node:readline'
import { join } from 'node:path'
import type { Declared } from '../../../dashboards/declared.ts'
import { repositoryRoot } from '../../support/data.ts'
import type { Command, GatewayOptions } from './gateway-process.ts'

export interface Gateway {
  readonly url: string
  /** What its parts declare, as data: controllers without their functions. */
  readonly declared: Declared
  /** `host:port`. */
  readonly address: string
  tell(command: Command): void
  close(): Promise<void>
}

export async function startGateway(options: GatewayOptions, env: Readonly<Record<string, string>> = {}): Promise<Gateway> {
  const child: ChildProcessByStdio<Writable, Readable, Readable> = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', join(repositoryRoot, 'test/dashboards/live/gateway-process.ts'), JSON.stringify(options)], { cwd: repositoryRoot, env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] })
  let errors = ''
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()))
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const { url, declared } = await new Promise<Pick<Gateway, 'url' | 'declared'>>((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', (line) => resolve(JSON.parse(line) as Gateway))
    void ended.then(() => reject(new Error(`the gateway ended: ${errors}`)))
  })
  return {
    url,
    declared,
    address: url.replace('http://', ''),
    tell: (command) => void child.stdin.write(`${JSON.stringify(command)}\n`),
    async close() {
      if (child.exitCode === null) child.kill('SIGKILL')
      await ended
    },
  }
}
