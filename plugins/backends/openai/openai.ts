/** Any upstream that speaks OpenAI's protocol: hosted ones, vLLM, llama.cpp's server, Ollama, TGI, … */
import { httpBackend, openAiProtocol, type Backend, type HttpBackendOptions } from '../../../src/index.ts'
import { adaptBody } from './adapt-body.ts'
import { FLAVORS, type Flavor } from './flavors.ts'
import { askForUsage, dropUsageEvents } from './track-usage.ts'

export interface OpenAiOptions extends HttpBackendOptions {
  /** Which server it is. Default `compatible`. */
  flavor?: Flavor
  /**
   * Ask for token usage in streams whose client did not, and strip it again. Off by default: bytes then pass unchanged
   * both ways, and tokens are counted by events where the upstream tells no usage.
   */
  trackUsage?: boolean
}

/** @throws TypeError for a `baseUrl` that is no plain http(s) URL, or an unknown flavor */
export function openai(options: OpenAiOptions): Backend {
  const flavor = options.flavor ?? 'compatible'
  if (!Object.hasOwn(FLAVORS, flavor)) throw new TypeError(`backend ${options.name}: flavor must be one of ${Object.keys(FLAVORS).join(', ')}; got ${flavor}`)
  const facts = FLAVORS[flavor]
  const asks = options.trackUsage === true && facts.streamUsage === 'asked'
  return httpBackend(
    {
      provider: facts.provider,
      protocol: openAiProtocol,
      limits: { slots: facts.slots, batching: 'internal' },
      credential: (key) => (facts.credential === 'api-key' ? ['api-key', key] : ['authorization', `Bearer ${key}`]),
      healthPath: facts.healthPath,
      modelsPath: facts.modelsPath,
      adapt: (body) => adaptBody(facts, body),
      ...(asks
        ? {
            amend: (call) => {
              const body = askForUsage(call)
              return body === undefined ? undefined : { body, filter: dropUsageEvents }
            },
          }
        : {}),
    },
    options,
  )
}
