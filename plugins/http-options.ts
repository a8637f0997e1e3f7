/** Options of backends over HTTP, as configuration files write them. */
import { z } from 'zod'

const ms = z.number().positive()

export const httpOptionsShape = {
  name: z.string().min(1),
  baseUrl: z.url(),
  apiKey: z.string().min(1).optional(),
  forwardCredential: z.boolean().optional(),
  models: z.union([z.literal('*'), z.array(z.string().min(1)).min(1)]).optional(),
  slots: z.int().min(1).optional(),
  headers: z.record(z.string(), z.string()).optional(),
  timeouts: z.strictObject({ connectMs: ms.optional(), headMs: ms.optional(), idleMs: ms.optional(), totalMs: ms.optional() }).optional(),
  maxReplyBytes: z.int().min(1).optional(),
  dropCacheControl: z.boolean().optional(),
} as const
