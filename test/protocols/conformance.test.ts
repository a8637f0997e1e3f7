import { anthropicProtocol, openAiProtocol } from '../../src/index.ts'
import { protocolConformance } from '../conformance/protocol.ts'

const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }

protocolConformance('openai', () => openAiProtocol, {
  chat: {
    operation: 'chat',
    body: {
      model: 'm',
      messages: [
        { role: 'system', content: 'be brief' },
        { role: 'user', content: [{ type: 'text', text: 'what is this?' }, { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA', detail: 'low' } }] },
        { role: 'assistant', content: null, tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Rome"}' } }] },
        { role: 'tool', tool_call_id: 'call_1', content: 'sunny' },
        { role: 'user', content: 'and now?', name: 'ann' },
      ],
      tools: [{ type: 'function', function: { name: 'weather', description: 'of a city', parameters, strict: true } }],
      tool_choice: { type: 'function', function: { name: 'weather' } },
      parallel_tool_calls: false,
      response_format: { type: 'json_schema', json_schema: { name: 'w', schema: parameters, strict: true } },
      max_tokens: 100,
      temperature: 0.5,
      top_p: 0.9,
      top_k: 40,
      min_p: 0.1,
      repetition_penalty: 1.1,
      n: 2,
      seed: 7,
      stop: ['END'],
      frequency_penalty: 0.1,
      presence_penalty: -0.1,
      logit_bias: { '50256': -100 },
      logprobs: true,
      top_logprobs: 3,
      reasoning_effort: 'low',
      user: 'u1',
    },
  },
  others: [
    { operation: 'completions', body: { model: 'm', prompt: ['a', 'b'], max_tokens: 5, echo: true, suffix: '!', logprobs: 2 } },
    { operation: 'completions', body: { model: 'm', prompt: [1, 2, 3] } },
    { operation: 'embeddings', body: { model: 'm', input: ['a', 'b'], dimensions: 8, encoding_format: 'base64' } },
  ],
  finishReasons: ['stop', 'length', 'tool-calls', 'content-filter'],
  required: ['model', 'messages'],
})

protocolConformance('anthropic', () => anthropicProtocol, {
  chat: {
    operation: 'messages',
    body: {
      model: 'm',
      max_tokens: 100,
      system: [{ type: 'text', text: 'be brief', cache_control: { type: 'ephemeral', ttl: '1h' } }],
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'what is this?' }, { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AAAA' } }] },
        { role: 'assistant', content: [{ type: 'thinking', thinking: 'hm', signature: 'sig' }, { type: 'redacted_thinking', data: 'xyz' }, { type: 'text', text: 'let me see' }, { type: 'tool_use', id: 'toolu_1', name: 'weather', input: { city: 'Rome' } }] },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'toolu_1', content: [{ type: 'text', text: 'storm' }, { type: 'image', source: { type: 'url', url: 'https://x/y.png' } }], is_error: true }, { type: 'text', text: 'and now?' }] },
      ],
      tools: [{ name: 'weather', description: 'of a city', input_schema: parameters, strict: true }],
      tool_choice: { type: 'tool', name: 'weather', disable_parallel_tool_use: true },
      temperature: 0.5,
      top_p: 0.9,
      top_k: 40,
      stop_sequences: ['END'],
      metadata: { user_id: 'u1' },
      output_config: { effort: 'high', format: { type: 'json_schema', schema: parameters } },
    },
  },
  others: [{ operation: 'count_tokens', body: { model: 'm', messages: [{ role: 'user', content: 'how many?' }], system: 'be brief' } }],
  finishReasons: ['stop', 'length', 'tool-calls', 'refusal', 'pause'],
  required: ['model', 'messages', 'max_tokens'],
})
