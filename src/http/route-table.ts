/** Which protocol's route a request is for. */
import type { IncomingHttpHeaders } from 'node:http'
import type { Protocol, ProtocolRoute } from '../protocols/protocol.ts'

export interface RouteMatch {
  readonly protocol: Protocol
  readonly route: ProtocolRoute
  /** What stands after `/models/`, decoded: names have slashes, too. */
  readonly parameter?: string
}

interface Candidate {
  readonly protocol: Protocol
  readonly route: ProtocolRoute
}

export class RouteTable {
  readonly #protocols: readonly Protocol[]
  readonly #exact = new Map<string, Candidate[]>()
  /** A list of models has an address for each: `/models/`. */
  readonly #prefixes = new Map<string, Candidate[]>()

  constructor(protocols: readonly Protocol[]) {
    this.#protocols = protocols
    for (const protocol of protocols) {
      for (const route of protocol.routes) {
        add(this.#exact, route.path, { protocol, route })
        if (route.operation === 'models') add(this.#prefixes, `${route.path}/`, { protocol, route })
      }
    }
  }

  /** The protocol that a client seems to speak, for errors at addresses that belong to none. */
  protocolOf(headers: IncomingHttpHeaders): Protocol {
    return this.#protocols.find(({ marker }) => marker !== undefined && headers[marker] !== undefined) ?? (this.#protocols[0] as Protocol)
  }

  /** `wrong-method`: the address exists, but not for this method. */
  match(method: string, path: string, headers: IncomingHttpHeaders): RouteMatch | 'wrong-method' | undefined {
    const exact = this.#exact.get(path)
    if (exact) return this.#choose(exact, method, headers) ?? 'wrong-method'
    for (const [prefix, candidates] of this.#prefixes) {
      if (!path.startsWith(prefix) || path.length === prefix.length) continue
      const chosen = this.#choose(candidates, method, headers)
      return chosen ? { ...chosen, parameter: decode(path.slice(prefix.length)) } : 'wrong-method'
    }
    return undefined
  }

  /** Two protocols may share an address (`/models`): the client's marker header tells them apart. */
  #choose(candidates: readonly Candidate[], method: string, headers: IncomingHttpHeaders): Candidate | undefined {
    let first: Candidate | undefined
    for (const candidate of candidates) {
      if (candidate.route.method !== method) continue
      if (candidates.length === 1) return candidate
      const { marker } = candidate.protocol
      if (marker !== undefined && headers[marker] !== undefined) return candidate
      if (first === undefined || (marker === undefined && first.protocol.marker !== undefined)) first = candidate
    }
    return first
  }
}

function add(table: Map<string, Candidate[]>, key: string, candidate: Candidate): void {
  const candidates = table.get(key)
  if (candidates) candidates.push(candidate)
  else table.set(key, [candidate])
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
