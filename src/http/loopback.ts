/** Whether a request comes from this very machine, and was meant to. */
import type { IncomingMessage } from 'node:http'

/** Any of these means that somebody stands between the client and us: a loopback socket then proves nothing. */
const FORWARDING = ['forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-real-ip', 'via', 'cf-connecting-ip', 'true-client-ip', 'x-client-ip', 'x-cluster-client-ip']

/**
 * Socket address, absence of forwarding headers, and a `Host` that names this machine: the last keeps a web page, whose
 * browser runs here, from reaching us under its own name (DNS rebinding). `origin` must be local too, or a page could post;
 * where a browser leaves it out, it still says that the request crosses sites.
 */
export function isLocal(req: IncomingMessage): boolean {
  if (!isLoopbackAddress(req.socket.remoteAddress)) return false
  // No browser and no tool of today speaks 1.0; nginx does by itself, and names nobody whom it forwards.
  if (req.httpVersionMajor === 1 && req.httpVersionMinor === 0) return false
  const { headers } = req
  for (const name of FORWARDING) if (headers[name] !== undefined) return false
  if (!isLocalHost(headers.host)) return false
  if (headers['sec-fetch-site'] === 'cross-site') return false
  return headers.origin === undefined || isLocalOrigin(headers.origin)
}

export function isLoopbackAddress(address: string | undefined): boolean {
  if (address === undefined) return false
  return address === '::1' || /^(?:::ffff:)?127(?:\.\d{1,3}){3}$/.test(address)
}

function isLocalHost(host: string | undefined): boolean {
  if (host === undefined) return false
  const name = host.replace(/:\d+$/, '').toLowerCase()
  return name === 'localhost' || name === '[::1]' || isLoopbackAddress(name)
}

function isLocalOrigin(origin: string): boolean {
  try {
    return isLocalHost(new URL(origin).host)
  } catch {
    return false
  }
}
