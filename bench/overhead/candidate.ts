/** What every candidate process does: listen, say where, and account for itself when asked. */
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { monitorEventLoopDelay } from 'node:perf_hooks'

export interface Account {
  /** User and system time since the last account, µs. */
  readonly cpuUs: number
  readonly rssBytes: number
  /** 99th percentile and maximum of event-loop delay since the last account, ms. */
  readonly lagP99Ms: number
  readonly lagMaxMs: number
}

export function serveCandidate(listener: RequestListener): void {
  const server = createServer(listener)
  server.keepAliveTimeout = 120_000
  server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }))
  accountFor()
}

/** Answers `account` messages from the parent. */
export function accountFor(): void {
  const delay = monitorEventLoopDelay({ resolution: 5 })
  delay.enable()
  let last = process.cpuUsage()
  process.on('message', (message) => {
    if (message !== 'account') return
    const { user, system } = process.cpuUsage(last)
    last = process.cpuUsage()
    const account: Account = { cpuUs: user + system, rssBytes: process.memoryUsage.rss(), lagP99Ms: delay.percentile(99) / 1e6 - 5, lagMaxMs: delay.max / 1e6 - 5 }
    delay.reset()
    process.send?.({ account })
  })
  process.on('disconnect', () => process.exit(0))
}
