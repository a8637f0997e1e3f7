/** Starts gateway-process.ts and talks to it. */
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { createInterface } from 'node:readline'
import { join } from 'node:path'
import { repositoryRoot } from '../../support/data.ts'
import type { Command, GatewayOptions } from './gateway-process.ts'

export interface Gateway {
  readonly url: string
  /** `host:port`. */
  readonly address: string
  tell(command: Command): void
  close(): Promise<void>
}

export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const child: ChildProcessByStdio<Writable, Readable, Readable> = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', join(repositoryRoot, 'test/dashboards/live/gateway-process.ts'), JSON.stringify(options)], { cwd: repositoryRoot, stdio: ['pipe', 'pipe', 'pipe'] })
  let errors = ''
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()))
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const url = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', (line) => resolve((JSON.parse(line) as { url: string }).url))
    void ended.then(() => reject(new Error(`the gateway ended: ${errors}`)))
  })
  return {
    url,
    address: url.replace('http://', ''),
    tell: (command) => void child.stdin.write(`${JSON.stringify(command)}\n`),
    async close() {
      if (child.exitCode === null) child.kill('SIGKILL')
      await ended
    },
  }
}
