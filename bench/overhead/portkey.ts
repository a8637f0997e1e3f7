/** Portkey's gateway, fetched when the benchmark runs: a rival, not a dependency. */
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { Account } from './candidate.ts'
import type { Child } from './process.ts'

const VERSION = '1.15.2'
/** With a later one every stream ends in 500 (Portkey-AI/gateway#1389); by itself npm would take the latest. */
const NODE_SERVER = '1.14.1'

/** Undefined, with the reason said, where it cannot be had. */
export async function startPortkey(say: (line: string) => void): Promise<Child | undefined> {
  const home = join('node_modules', '.cache', 'flyball', `portkey-${VERSION}-on-${NODE_SERVER}`)
  try {
    if (!existsSync(join(home, 'node_modules', '@portkey-ai', 'gateway'))) {
      say(`fetching @portkey-ai/gateway@${VERSION} …`)
      mkdirSync(home, { recursive: true })
      writeFileSync(join(home, 'package.json'), JSON.stringify({ private: true, overrides: { '@hono/node-server': NODE_SERVER } }))
      execFileSync('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--no-package-lock', `@portkey-ai/gateway@${VERSION}`], { cwd: home, stdio: 'ignore', timeout: 300_000 })
    }
    const port = await freePort()
    const child = spawn(process.execPath, [join(home, 'node_modules/@portkey-ai/gateway/build/start-server.js'), `--port=${port}`, '--headless'], { stdio: 'ignore', env: { ...process.env, PORT: String(port) } })
    const url = `http://127.0.0.1:${port}`
    await answers(url)
    let last = cpuUs(child.pid as number)
    return {
      url,
      async account(): Promise<Account> {
        const now = cpuUs(child.pid as number)
        const spent = now - last
        last = now
        return { cpuUs: spent, rssBytes: rss(child.pid as number), lagP99Ms: Number.NaN, lagMaxMs: Number.NaN }
      },
      stop: () => void child.kill(),
    }
  } catch (error) {
    say(`portkey is left out: ${(error as Error).message.split('\n')[0]}`)
    return undefined
  }
}

/** From the kernel's own accounting, in clock ticks of 10 ms. Linux. */
function cpuUs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) * 10_000
}

function rss(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? Number.NaN) * 1_024
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })
}

async function answers(url: string): Promise<void> {
  for (let i = 0; i < 100; i++) {
    try {
      await fetch(url)
      return
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
  throw new Error('it did not start')
}
