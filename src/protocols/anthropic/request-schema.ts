/** What must be right in a request for us to serve it. Fields that are not named here pass: upstream may know them. */
import { z } from 'zod'

const optional = <T extends z.ZodType>(type: T) => type.nullish()
const content = z.union([z.string(), z.array(z.looseObject({ type: z.string() }))])

const shared = {
  model: z.string().min(1).max(512),
  messages: z.array(z.looseObject({ role: z.string(), content })).min(1),
  system: optional(content),
  tools: optional(z.array(z.looseObject({ name: z.string() }))),
}

export const messagesSchema = z.looseObject({
  ...shared,
  max_tokens: z.number().int().min(0),
  stream: optional(z.boolean()),
  temperature: optional(z.number()),
  top_p: optional(z.number()),
  top_k: optional(z.number().int()),
  stop_sequences: optional(z.array(z.string())),
  metadata: optional(z.looseObject({ user_id: optional(z.string()) })),
})

export const countTokensSchema = z.looseObject(shared)
