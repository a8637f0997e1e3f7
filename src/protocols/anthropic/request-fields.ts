/** What a translation from Anthropic's requests carries. The docs derive their table from these records. */
import type { FieldTable } from '../shared/field-table.ts'

export const MESSAGES_FIELDS: FieldTable = {
  model: 'carried',
  messages: 'carried',
  system: 'carried',
  max_tokens: 'carried',
  stream: 'carried',
  temperature: 'carried',
  top_p: 'carried',
  top_k: 'carried',
  stop_sequences: 'carried',
  tools: 'carried',
  tool_choice: 'carried',
  metadata: 'carried',
  output_config: 'carried',
  thinking: 'carried', // only `disabled`, which is what leaving it out means
  service_tier: { neutral: ['auto'] },
  speed: { neutral: ['standard'] },
}

export const METADATA_FIELDS: FieldTable = { user_id: 'carried' }
export const OUTPUT_FIELDS: FieldTable = { effort: 'carried', format: 'carried' }

export const TOOL_FIELDS: FieldTable = { type: 'carried', name: 'carried', description: 'carried', input_schema: 'carried', strict: 'carried', defer_loading: { neutral: [false] }, eager_input_streaming: { neutral: [false] }, allowed_callers: { neutral: [] }, input_examples: { neutral: [] } }

export const BLOCK_FIELDS: { readonly [type: string]: FieldTable } = {
  text: { type: 'carried', text: 'carried', cache_control: 'carried', citations: { neutral: [] } },
  image: { type: 'carried', source: 'carried', cache_control: 'carried' },
  tool_use: { type: 'carried', id: 'carried', name: 'carried', input: 'carried', cache_control: 'carried' },
  tool_result: { type: 'carried', tool_use_id: 'carried', content: 'carried', is_error: 'carried', cache_control: 'carried' },
  thinking: { type: 'carried', thinking: 'carried', signature: 'carried' },
  redacted_thinking: { type: 'carried', data: 'carried' },
}
