/** Opens a model file with the best engine that is at hand. */
import { systemClock, type Clock } from '../../../src/index.ts'
import { ChatTemplate } from './chat-template.ts'
import type { NativeEngine } from './engine-contract.ts'
import { CpuEngine } from './engine.ts'
import { readGguf, type Gguf } from './gguf.ts'
import { forFile } from './model-error.ts'
import { ReferenceEngine } from './reference-engine.ts'
import { Tokenizer } from './tokenizer/tokenizer.ts'

export interface EngineChoice {
  /** `auto`: C++ where it is built, else TypeScript. */
  readonly engine?: 'auto' | 'cpu' | 'reference'
  readonly maxSequences?: number
  readonly kvBudgetMiB?: number
  readonly threads?: number
  readonly clock?: Clock
  readonly gguf?: Gguf
  readonly signal?: AbortSignal
}

/** @throws ModelError when the file is bad, or `cpu` was asked for and is not built here */
export function openEngine(path: string, choice: EngineChoice = {}): Promise<NativeEngine> {
  const { maxSequences, kvBudgetMiB, threads, gguf, signal, clock = systemClock } = choice
  const common = { ...(maxSequences === undefined ? {} : { maxSequences }), ...(gguf === undefined ? {} : { gguf }), ...(signal === undefined ? {} : { signal }) }
  const kind = choice.engine ?? 'auto'
  if (kind === 'reference' || (kind === 'auto' && !CpuEngine.available())) return ReferenceEngine.open(path, { ...common, clock })
  return CpuEngine.open(path, { ...common, ...(threads === undefined ? {} : { threads }), ...(kvBudgetMiB === undefined ? {} : { kvBudgetBytes: kvBudgetMiB * 2 ** 20 }) })
}

export interface OpenModel {
  readonly engine: NativeEngine
  readonly tokenizer: Tokenizer
  readonly template: ChatTemplate
}

/** An engine with what turns text into its tokens. @throws ModelError */
export async function openModel(path: string, choice: EngineChoice = {}): Promise<OpenModel> {
  const gguf = readGguf(path)
  const tokenizer = forFile(path, () => new Tokenizer(gguf.metadata))
  const template = forFile(path, () => new ChatTemplate(gguf.metadata, tokenizer))
  return { engine: await openEngine(path, { ...choice, gguf }), tokenizer, template }
}
