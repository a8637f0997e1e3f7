/** What a translation from OpenAI's requests carries. The docs derive their table from these records. */
import type { FieldTable } from '../shared/field-table.ts'

const GENERATION: FieldTable = {
  model: 'carried',
  stream: 'carried',
  stream_options: 'carried',
  user: 'carried',
  max_tokens: 'carried',
  temperature: 'carried',
  top_p: 'carried',
  top_k: 'carried', // vLLM, llama.cpp, Ollama
  min_p: 'carried', // vLLM, llama.cpp
  repetition_penalty: 'carried', // vLLM, TGI
  n: 'carried',
  stop: 'carried',
  seed: 'carried',
  frequency_penalty: 'carried',
  presence_penalty: 'carried',
  logit_bias: 'carried',
  logprobs: 'carried',
}

export const CHAT_FIELDS: FieldTable = {
  ...GENERATION,
  messages: 'carried',
  max_completion_tokens: 'carried',
  top_logprobs: 'carried',
  tools: 'carried',
  tool_choice: 'carried',
  parallel_tool_calls: 'carried',
  response_format: 'carried',
  safety_identifier: 'carried', // the newer name of `user`
  reasoning_effort: 'carried',
  // Hints whose defaults say nothing.
  store: { neutral: [false] },
  service_tier: { neutral: ['auto', 'default'] },
  modalities: { neutral: [] },
  metadata: { neutral: [] },
  functions: { neutral: [] },
  function_call: { neutral: ['none', 'auto'] },
}

export const COMPLETION_FIELDS: FieldTable = { ...GENERATION, prompt: 'carried', echo: 'carried', suffix: 'carried', best_of: { neutral: [1] } }

export const EMBEDDING_FIELDS: FieldTable = { model: 'carried', input: 'carried', dimensions: 'carried', encoding_format: 'carried', user: 'carried' }

export const MESSAGE_FIELDS: FieldTable = { role: 'carried', content: 'carried', name: 'carried', tool_calls: 'carried', tool_call_id: 'carried', refusal: 'carried', reasoning_content: 'carried', reasoning: 'carried', annotations: { neutral: [] } }

export const TOOL_FIELDS: FieldTable = { name: 'carried', description: 'carried', parameters: 'carried', strict: 'carried' }
