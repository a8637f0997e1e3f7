/** The command line as people run it: a process of its own. */
import { spawn, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { repositoryRoot } from './data.ts'

export const BIN = join(repositoryRoot, 'src', 'cli', 'bin.ts')

export interface Finished {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Running {
  readonly child: ChildProcess
  readonly done: Promise<Finished>
  /** What it has said so far. */
  output(): string
}

export function start(args: readonly string[], env: Record<string, string> = {}): Running {
  const child = spawn(process.execPath, ['--no-warnings', BIN, ...args], { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (text: Buffer) => (stdout += text.toString()))
  child.stderr.on('data', (text: Buffer) => (stderr += text.toString()))
  child.stdin.end()
  const done = new Promise<Finished>((resolve) => child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr })))
  return { child, done, output: () => stdout + stderr }
}

export const run = (args: readonly string[], env: Record<string, string> = {}): Promise<Finished> => start(args, env).done
