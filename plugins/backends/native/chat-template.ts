/**
 * Chat messages to prompt tokens by the model's own template (`tokenizer.chat_template`), rendered by
 * `@huggingface/jinja`: maintained by Hugging Face for exactly these templates, no dependencies.
 */
import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja'
import { FlyballError } from '../../../src/index.ts'
import type { GgufMetadata } from './gguf-metadata.ts'
import { ModelError } from './model-error.ts'
import type { Tokenizer } from './tokenizer/tokenizer.ts'

export interface ChatInput {
  /** Plain data as templates expect it: `role`, `content`, perhaps `name`, `tool_calls`… */
  readonly messages: readonly Readonly<Record<string, unknown>>[]
  readonly tools?: readonly unknown[]
  /** End with the opening of the assistant's turn. Default true. */
  readonly addGenerationPrompt?: boolean
  /** Further variables, such as `enable_thinking`. */
  readonly variables?: Readonly<Record<string, unknown>>
  /** Wall clock for templates that write the date, in UTC. */
  readonly nowMs: number
}

/** For vocabularies with ChatML's tokens and no template of their own. */
const CHATML = `{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`

/** For models that were trained on no chat format at all. */
const PLAIN = `{% for message in messages %}{{ message.role | capitalize }}: {{ message.content }}
{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}`

/** A template may loop over a range for its formatting, not to keep the process busy. */
const MAX_RANGE = 10_000
const MAX_REASON = 200

/** What `raise_exception` in a template throws: the messages break the model's rules. */
class Refusal extends Error {}

export class ChatTemplate {
  /** `file`: the model's own. `default`: ChatML where the vocabulary has it, else `Role: text` lines. */
  readonly source: 'file' | 'default'
  readonly #program: ReturnType<typeof parse>
  readonly #tokenizer: Tokenizer
  readonly #bosText: string
  readonly #eosText: string

  /** @throws ModelError `invalid_model` when the template does not parse */
  constructor(metadata: GgufMetadata, tokenizer: Tokenizer) {
    const own = metadata.string('tokenizer.chat_template')
    this.source = own === undefined ? 'default' : 'file'
    this.#tokenizer = tokenizer
    this.#bosText = tokenText(tokenizer, tokenizer.bos)
    this.#eosText = tokenText(tokenizer, tokenizer.eos)
    const template = own ?? (tokenizer.token('<|im_start|>') === undefined ? PLAIN : CHATML)
    try {
      this.#program = parse(tokenize(template, { lstrip_blocks: true, trim_blocks: true }))
    } catch (error) {
      throw new ModelError('invalid_model', `tokenizer.chat_template does not parse: ${reason(error)}`, error)
    }
  }

  /** @throws FlyballError `invalid_request` when the template refuses the messages, `backend_failed` when it fails */
  render(input: ChatInput): string {
    const environment = new Environment()
    const variables = {
      ...input.variables,
      messages: input.messages,
      tools: input.tools ?? null,
      documents: null,
      add_generation_prompt: input.addGenerationPrompt ?? true,
      bos_token: this.#bosText,
      eos_token: this.#eosText,
      true: true,
      True: true,
      false: false,
      False: false,
      none: null,
      None: null,
      raise_exception: (message: unknown) => {
        throw new Refusal(String(message))
      },
      range: boundedRange,
      strftime_now: (format: string) => formatUtc(input.nowMs, format),
    }
    try {
      for (const [name, value] of Object.entries(variables)) environment.set(name, value)
      const result = new Interpreter(environment).run(this.#program) as { value: unknown }
      return String(result.value)
    } catch (error) {
      if (error instanceof Refusal) {
        throw new FlyballError('invalid_request', { message: `The model's chat template refuses the messages: ${reason(error)}`, param: 'messages', cause: error })
      }
      throw new FlyballError('backend_failed', { message: `The model's chat template failed: ${reason(error)}`, cause: error })
    }
  }

  /**
   * The prompt as tokens: BOS in front once, whether or not the template writes it. Control tokens count where the
   * template writes them; the same text inside a message stays text, so that nobody forges a turn.
   */
  encode(input: ChatInput): number[] {
    const { controlTexts } = this.#tokenizer
    const guard = (value: unknown): unknown => mapStrings(value, (text) => hideControlTokens(text, controlTexts))
    const tools = input.tools === undefined ? {} : { tools: guard(input.tools) as unknown[] }
    const text = this.render({ ...input, ...tools, messages: guard(input.messages) as ChatInput['messages'] })
    const hasBos = this.#bosText !== '' && text.startsWith(this.#bosText)
    // every second part is the number of a hidden control token
    const parts = text.split(HIDDEN).map((part, index) =>
      index % 2 === 0 ? { text: part, parseSpecial: true } : { text: controlTexts[Number(part)] ?? '', parseSpecial: false },
    )
    const tokens = this.#tokenizer.encodeParts(parts, !hasBos)
    // EOS belongs behind a finished text, not behind the opening of an answer
    if (!hasBos && this.#tokenizer.addEos) tokens.pop()
    return tokens
  }
}

/** Private-use characters around the number of a control token. Text that has them already only names itself. */
const HIDDEN = /\u{10fffc}(\d+)\u{10fffd}/u

function hideControlTokens(text: string, controlTexts: readonly string[]): string {
  let hidden = text
  controlTexts.forEach((control, index) => {
    if (hidden.includes(control)) hidden = hidden.replaceAll(control, `\u{10fffc}${index}\u{10fffd}`)
  })
  return hidden
}

function mapStrings(value: unknown, map: (text: string) => string): unknown {
  if (typeof value === 'string') return map(value)
  if (Array.isArray(value)) return value.map((element) => mapStrings(element, map))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, element]) => [map(key), mapStrings(element, map)]))
}

function tokenText(tokenizer: Tokenizer, token: number | undefined): string {
  return token === undefined ? '' : (tokenizer.text(token) ?? '')
}

function reason(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  const line = message.split('\n', 1)[0] as string
  return line.length > MAX_REASON ? `${line.slice(0, MAX_REASON)}…` : line
}

/** Python's `range`. */
function boundedRange(from: number, to?: number, step = 1): number[] {
  const [start, end] = to === undefined ? [0, from] : [from, to]
  const count = Math.max(0, Math.ceil((end - start) / step))
  if (!(count <= MAX_RANGE)) throw new Error(`range of ${count} elements, the limit is ${MAX_RANGE}`)
  return Array.from({ length: count }, (_, index) => start + index * step)
}

const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December']
const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']

/** The parts of Python's `strftime` that templates use; others stay as they are. */
function formatUtc(nowMs: number, format: string): string {
  const date = new Date(nowMs)
  const two = (value: number): string => String(value).padStart(2, '0')
  const month = MONTHS[date.getUTCMonth()] as string
  const day = DAYS[date.getUTCDay()] as string
  const parts: Record<string, string> = {
    Y: String(date.getUTCFullYear()),
    y: two(date.getUTCFullYear() % 100),
    m: two(date.getUTCMonth() + 1),
    B: month,
    b: month.slice(0, 3),
    d: two(date.getUTCDate()),
    A: day,
    a: day.slice(0, 3),
    H: two(date.getUTCHours()),
    M: two(date.getUTCMinutes()),
    S: two(date.getUTCSeconds()),
    '%': '%',
  }
  return format.replace(/%(.)/gu, (whole, part: string) => parts[part] ?? whole)
}
