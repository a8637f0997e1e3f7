/** Any upstream that speaks Anthropic's Messages API: Anthropic's own, and servers compatible with it. */
import { anthropicProtocol, httpBackend, type Backend, type HttpBackendOptions } from '../../../src/index.ts'

export interface AnthropicOptions extends Omit<HttpBackendOptions, 'baseUrl'> {
  /** Default `https://api.anthropic.com/v1`. */
  baseUrl?: string
  /** Sent where the client names none. Default `2023-06-01`. */
  version?: string
}

/** Calls at once where the user names none: what a small paid tier bears. */
const DEFAULT_SLOTS = 64

/** @throws TypeError for a `baseUrl` that is no plain http(s) URL */
export function anthropic(options: AnthropicOptions): Backend {
  return httpBackend(
    {
      provider: 'anthropic',
      protocol: anthropicProtocol,
      limits: { slots: DEFAULT_SLOTS, batching: 'internal' },
      credential: (key) => ['x-api-key', key],
      defaultHeaders: [['anthropic-version', options.version ?? '2023-06-01']],
      healthPath: './models',
      modelsPath: '/models',
    },
    { ...options, baseUrl: options.baseUrl ?? 'https://api.anthropic.com/v1' },
  )
}
