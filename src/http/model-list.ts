/** The `/models` document: what is configured, and what upstreams that serve any model say they have. */
import type { Backend } from '../core/backend.ts'
import type { Governor } from '../governor-contract.ts'

export interface ListedModel {
  id: string
  createdS: number
  ownedBy: string
}

/** How long an upstream's answer is believed. */
const FRESH_MS = 10_000
/** A slow upstream must not hold up the list of the others. */
const TIMEOUT_MS = 2_000
/** A router with every model there is still makes a list that a client can read. */
const MAX_MODELS = 10_000

export class ModelList {
  readonly #governor: Governor
  readonly #asked = new Map<Backend, { atMs: number; ids: Promise<readonly string[]> }>()

  constructor(governor: Governor) {
    this.#governor = governor
  }

  async all(): Promise<ListedModel[]> {
    const { clock } = this.#governor
    const createdS = Math.floor(clock.wallMs() / 1_000)
    const listed = new Map<string, ListedModel>()
    const backends = this.#governor.backends().filter((backend) => !backend.private)
    const lists = await Promise.all(backends.map((backend) => (backend.models === '*' ? this.#ask(backend) : backend.models)))
    lists.forEach((ids, i) => {
      const { provider } = backends[i] as Backend
      for (const id of ids) if (!listed.has(id) && listed.size < MAX_MODELS) listed.set(id, { id, createdS, ownedBy: provider })
    })
    return [...listed.values()]
  }

  #ask(backend: Backend): Promise<readonly string[]> {
    const { clock } = this.#governor
    if (!backend.listModels) return Promise.resolve([])
    const known = this.#asked.get(backend)
    if (known && clock.monoMs() - known.atMs < FRESH_MS) return known.ids
    const abort = new AbortController()
    const cancel = clock.after(TIMEOUT_MS, () => abort.abort())
    // An upstream that does not answer lists nothing; that is not the client's error.
    const ids = backend.listModels(abort.signal).then(
      (found) => found,
      () => [],
    )
    void ids.then(cancel)
    this.#asked.set(backend, { atMs: clock.monoMs(), ids })
    return ids
  }
}
